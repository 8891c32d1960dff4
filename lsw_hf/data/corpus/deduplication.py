"""Documents that say the same twice, letter by letter or nearly, and how to leave them out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

_WORD = re.compile(r"\w")
_SPACES = re.compile(r"\s+")
_RUNS_AT_ONCE = 4_096


class Deduplicator:
    """Passes on documents that have not been seen before.

    Exact duplicates are found by a hash of their text. With a threshold, near-duplicates are found as well, by MinHash
    over runs of `shingle_length` characters (spaces and capitals ignored, so that it works for Chinese too), with
    `datasketch`. What a document is compared with stays in memory: about 1 KB for each one kept.

    Args:
        threshold (`float`, *optional*):
            Jaccard similarity from which a document counts as the same, in (0, 1). By default only exact duplicates.
        shingle_length (`int`, *optional*, defaults to 12):
            Characters of a run.
        num_permutations (`int`, *optional*, defaults to 128):
            Length of a MinHash; more is more exact and slower.
        seed (`int`, *optional*, defaults to 1):
            Of the MinHash permutations.

    Attributes:
        kept, exact_duplicates, near_duplicates (`int`): documents so far.

    Raises:
        ValueError: a threshold outside (0, 1), counts below 1.
        ImportError: a threshold was given, but `datasketch` is missing.
    """

    def __init__(
        self,
        threshold: float | None = None,
        *,
        shingle_length: int = 12,
        num_permutations: int = 128,
        seed: int = 1,
    ) -> None:
        if threshold is not None and not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold!r}: 0.8 is a common choice.")
        for name, value in (("shingle_length", shingle_length), ("num_permutations", num_permutations)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.shingle_length = shingle_length
        self.num_permutations = num_permutations
        self.seed = seed
        self.kept = self.exact_duplicates = self.near_duplicates = 0
        self._seen: set[bytes] = set()
        self._library: Any = None if threshold is None else _import_datasketch()
        self._index = (
            None if self._library is None else self._library.MinHashLSH(threshold=threshold, num_perm=num_permutations)
        )

    def is_new(self, text: str) -> bool:
        """Whether a document is kept; it is remembered if so."""
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._seen:
            self.exact_duplicates += 1
            return False
        self._seen.add(digest)
        if self._index is not None:
            sketch = self._sketch(text)
            if self._index.query(sketch):
                self.near_duplicates += 1
                return False
            self._index.insert(str(self.kept), sketch)
        self.kept += 1
        return True

    def filter(self, documents: Iterable[Mapping[str, Any]], text_column: str = "text") -> Iterator[Mapping[str, Any]]:
        """Yield the documents that are new, in their order."""
        for row in documents:
            if self.is_new(row[text_column]):
                yield row

    def _sketch(self, text: str) -> Any:
        plain = _SPACES.sub(" ", text.casefold()).strip()
        width = self.shingle_length
        sketch = self._library.MinHash(num_perm=self.num_permutations, seed=self.seed)
        num_runs = max(1, len(plain) - width + 1)
        # Block by block: the library keeps 128 numbers for each run that it is given at once.
        for first in range(0, num_runs, _RUNS_AT_ONCE):
            starts = range(first, min(first + _RUNS_AT_ONCE, num_runs))
            runs = {plain[start : start + width] for start in starts}
            sketch.update_batch([run.encode("utf-8", "surrogatepass") for run in runs if _WORD.search(run)] or [b""])
        return sketch


def _import_datasketch() -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise ImportError("Finding near-duplicates needs MinHash: pip install 'lsw-hf[data]'.") from error
    return datasketch
