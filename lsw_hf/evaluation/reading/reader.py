"""Greedy answers to many questions about one long text, which is computed once; no question sees another."""

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from .caches import Branches, cache_argument, can_branch, fork_cache, returned_cache

# Tokens read at once after a prefix: each piece needs an explicit mask over all that precedes it. Our choice:
# the fastest on a CPU, and a mask of 100,000 rows would not fit into memory.
_PIECE_AFTER_PREFIX = 512
# Longer endings are asked row by row: in one row, each ending costs mask over all others.
LONGEST_BRANCH = 128
# Rotary angles of these follow the longest position so far: the keys of a part are not those of the whole.
_MOVING_ANGLES = ("dynamic", "longrope")


@dataclass(frozen=True)
class ReadingOptions:
    """How a model reads long prompts. None of it changes an answer.

    Args:
        memory_budget_gb (`float`, *optional*, defaults to 2.0):
            Memory in GB, on top of the model and one prefix, that asking several questions at once may take.
        prefill_chunk_length (`int`, *optional*):
            Tokens per piece of a prefix: less memory, but on CPU about 5x the time, because every piece needs an
            explicit mask. Defaults to one piece.

    Raises:
        ValueError: for a budget that is not positive, or pieces of less than one token.
    """

    memory_budget_gb: float = 2.0
    prefill_chunk_length: int | None = None

    def __post_init__(self) -> None:
        if not self.memory_budget_gb > 0:
            raise ValueError(f"memory_budget_gb must be above 0; got {self.memory_budget_gb}")
        if self.prefill_chunk_length is not None and self.prefill_chunk_length < 1:
            raise ValueError(f"prefill_chunk_length must be at least 1 token; got {self.prefill_chunk_length}")


class GreedyReader:
    """Reads prompts with a causal LM and continues them greedily, as `model.generate(do_sample=False)` does. Penalties
    and forced tokens of a generation configuration are not applied: they change what is likeliest, and a penalty on
    repeated tokens works against answers that repeat the text.

    Args:
        model ([`PreTrainedModel`]):
            The model, on any device.
        max_new_tokens (`int`):
            Most tokens that are generated, at least 1.
        options ([`ReadingOptions`], *optional*):
            Memory and pieces.
    """

    def __init__(self, model: Any, *, max_new_tokens: int, options: ReadingOptions | None = None) -> None:
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.options = ReadingOptions() if options is None else options
        # An adapter's forward hides the arguments of the model inside, and passes them on.
        inside = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._accepted = set(inspect.signature(inside.forward).parameters)
        self._cache_argument = cache_argument(inside.forward)
        eos = getattr(model, "generation_config", None)
        eos_ids = eos.eos_token_id if eos is not None else model.config.eos_token_id
        self._agrees: bool | None = None
        self._continues: bool | None = None
        self._eos = set(eos_ids if isinstance(eos_ids, Iterable) else [] if eos_ids is None else [eos_ids])

    def prefill(self, ids: list[int], cache: Cache | None = None, past: int = 0) -> Cache:
        """Compute the common prefix of several prompts once.

        Args:
            ids (`list[int]`):
                Its tokens, or those after the ones in `cache`.
            cache ([`Cache`], *optional*):
                An earlier part, which grows in place.
            past (`int`, *optional*, defaults to 0):
                Tokens in `cache`.
        """
        step = self._piece(past) or len(ids)
        for start in range(0, len(ids), step):
            _, cache = self._forward(torch.tensor([ids[start : start + step]]), cache, past + start)
        if cache is None:
            raise ValueError("this model keeps no cache of keys and values: nothing can be shared between prompts")
        return cache

    def can_continue(self) -> bool:
        """Whether a prompt read in two parts gives the logits of the whole one: seen on a few tokens of this model.
        States of linear attention, caches that lose something, or a forward of the user's own can make it wrong.
        False without a test for RoPE types whose angles depend on the length: beyond the original window they differ.
        """
        if self._continues is None and self._angles_move():
            self._continues = False
        if self._continues is None:
            ids = self._probe_ids(24)
            whole, cache = self._forward(ids[None], None, 0)
            self._continues = cache is not None
            if self._continues:
                _, prefix = self._forward(ids[None, :11], None, 0)
                _, prefix = self._forward(ids[None, 11:16], prefix, 11)
                parts, _ = self._forward(ids[None, 16:], fork_cache(prefix, 1), 16)
                self._continues = self._same(parts, whole)
        return self._continues

    def _angles_move(self) -> bool:
        config = self.model.config.get_text_config(decoder=True)
        rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
        kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
        return any(kind.get("rope_type", kind.get("type")) in _MOVING_ANGLES for kind in kinds)

    def batch_size(self, prefix: Cache, questions: int, tokens: int = 16) -> int:
        """Rows of `tokens` tokens that can be asked at once within the memory budget, at least 1."""
        budget, past = 1e9 * self.options.memory_budget_gb, prefix.get_seq_length()
        if tokens <= LONGEST_BRANCH and self._branches(prefix):
            # Each token needs one row of a mask over prefix and rows, and attention a few copies of it.
            most = ((past * past + budget / 4) ** 0.5 - past) / 2
            return max(1, min(questions, int(most // tokens)))
        row = 0
        for layer in prefix.layers:
            if type(layer) is not DynamicLayer and not hasattr(layer, "batch_repeat_interleave"):
                return 1  # States of linear attention are of one row.
            if getattr(layer, "keys", None) is not None:
                stored = layer.keys.nbytes + layer.values.nbytes
                # Shared layers are widened one at a time, into a copy and its input; copied layers stay.
                row = max(row, 2 * stored) if type(layer) is DynamicLayer else row + 2 * stored
        return max(1, min(questions, int(budget // max(row, 1))))

    def _branches(self, prefix: Cache) -> bool:
        """Whether questions can be in one row: the cache allows it, and the model was seen to do it right."""
        if not can_branch(self.model, prefix):
            return False
        if self._agrees is None:
            self._agrees = "position_ids" in self._accepted and self._probe()
        return self._agrees

    def _probe(self) -> bool:
        """Two branches of a few tokens against the same two rows alone: position biases that ignore `position_ids`,
        masks that are rebuilt inside the model, or a forward of the user's own would show here.
        """
        ids = self._probe_ids(12)
        rows = ids[6:].reshape(2, 3)
        _, prefix = self._forward(ids[None, :6], None, 0)
        alone, _ = self._forward(rows, fork_cache(prefix, 2), 6)
        branched = self._forward_branches(rows, Branches(prefix, 6, self.model.dtype, self.model.device))
        return self._same(branched, alone)

    def _probe_ids(self, count: int) -> torch.Tensor:
        return (torch.arange(count) * 7 + 3) % self.model.config.get_text_config(decoder=True).vocab_size

    def _same(self, logits: torch.Tensor, expected: torch.Tensor) -> bool:
        """Whether logits agree but for rounding in the model's number type."""
        rough = torch.finfo(self.model.dtype).eps ** 0.5
        spread = float(expected.std())
        # Not for torch 2.11, which refuses such a tolerance: the reading that follows says what is wrong.
        if not math.isfinite(spread):
            return False
        atol = max(rough * spread, 1e-6)
        return logits.shape == expected.shape and bool(torch.allclose(logits, expected, rtol=rough, atol=atol))

    def _piece(self, past: int) -> int | None:
        """Tokens read at once, `None` for all."""
        chunk = self.options.prefill_chunk_length
        return chunk if past == 0 else min(chunk or _PIECE_AFTER_PREFIX, _PIECE_AFTER_PREFIX)

    def answer(
        self,
        rows: list[list[int]],
        prefix: Cache | None = None,
        prefix_length: int = 0,
        *,
        consume_prefix: bool = False,
    ) -> list[list[int]]:
        """Continue each row greedily.

        Args:
            rows (`list[list[int]]`):
                Token ids after the prefix, all of one length.
            prefix ([`Cache`], *optional*):
                From [`~GreedyReader.prefill`]; not changed unless given away.
            prefix_length (`int`, *optional*, defaults to 0):
                Tokens in `prefix`.
            consume_prefix (`bool`, *optional*, defaults to `False`):
                Whether `prefix` is not needed again, so that no copy of it is kept.

        Returns:
            `list[list[int]]`: New tokens of each row, up to and without the end-of-sequence token.

        Raises:
            ValueError: if a logit is NaN or infinite where the answer is decided.
        """
        branches = None
        if prefix is not None and len(rows) > 1 and len(rows[0]) <= LONGEST_BRANCH and self._branches(prefix):
            branches = Branches(prefix, prefix_length, self.model.dtype, self.model.device, consume_prefix)
        cache = None if prefix is None or branches else fork_cache(prefix, len(rows))
        ids, past = torch.tensor(rows), prefix_length
        step = self._piece(past) or ids.shape[1]
        while cache is not None and ids.shape[1] > step:
            _, cache = self._forward(ids[:, :step], cache, past)
            ids, past = ids[:, step:], past + step
        answers: list[list[int]] = [[] for _ in rows]
        open_rows = set(range(len(rows)))
        for step in range(self.max_new_tokens):
            if branches:
                logits = self._forward_branches(ids, branches)
            else:
                logits, cache = self._forward(ids, cache, past)
            past += ids.shape[1]
            # The maximum is NaN if any logit is; minus infinity elsewhere only forbids a token.
            if not torch.isfinite(logits.amax(dim=-1)).all():
                raise ValueError(_not_finite(past))
            tokens = logits[:, -1].argmax(dim=-1).tolist()
            for row in sorted(open_rows):
                if tokens[row] in self._eos:
                    open_rows.discard(row)
                else:
                    answers[row].append(tokens[row])
            if not open_rows or step + 1 == self.max_new_tokens:
                break
            new = torch.tensor(tokens)[:, None]
            # A model that keeps no cache reads everything again for each token.
            ids, past = (new, past) if cache is not None or branches else (torch.cat([ids, new], dim=1), 0)
        return answers

    def log_probabilities(
        self, rows: list[list[int]], scored: list[int], prefix: Cache | None = None, past: int = 0
    ) -> list[float]:
        """Mean log-probability per token of the last tokens of each row, all given (teacher forcing).

        Args:
            rows (`list[list[int]]`):
                Token ids after the prefix, of any lengths.
            scored (`list[int]`):
                For each row, how many of its last tokens are scored; fewer than the row has.
            prefix ([`Cache`], *optional*):
                What [`~GreedyReader.prefill`] returned. It is not changed.
            past (`int`, *optional*, defaults to 0):
                Tokens in `prefix`.

        Returns:
            `list[float]`: Natural logarithms, at most 0.
        """
        longest = max(map(len, rows))
        # Padding is to the right of everything that is scored, where causal attention cannot see it.
        ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in rows])
        cache = None if prefix is None else fork_cache(prefix, len(rows))
        logits, _ = self._forward(ids, cache, past, keep=longest)
        chosen = ids[:, 1:, None].to(logits.device)
        found = logits.log_softmax(dim=-1)[:, :-1].gather(-1, chosen)[..., 0].cpu()
        means = []
        for row, count, values in zip(rows, scored, found, strict=True):
            mean = float(values[len(row) - 1 - count : len(row) - 1].mean())
            if mean != mean:
                raise ValueError(_not_finite(past + longest))
            means.append(mean)
        return means

    @torch.no_grad()
    def _forward(
        self, ids: torch.Tensor, cache: Cache | None, past: int, keep: int = 1
    ) -> tuple[torch.Tensor, Cache | None]:
        """Logits of the last `keep` positions (batch, keep, vocabulary) and the grown cache, if there is one."""
        device = self.model.device
        # An explicit all-ones mask: without one, position ids can be mistaken for those of packed documents.
        # It covers what the cache has keys of: models that keep states alone (Mamba) want it for the new tokens.
        masked = ids.shape[1] + (0 if cache is not None and _keeps_states_alone(cache) else past)
        mask = torch.ones((ids.shape[0], masked), dtype=torch.long, device=device)
        output = self.model(
            input_ids=ids.to(device),
            attention_mask=mask,
            use_cache=True,
            **{self._cache_argument: cache},
            **self._keep(keep),
        )
        return output.logits[:, -keep:].float(), returned_cache(output)

    @torch.no_grad()
    def _forward_branches(self, ids: torch.Tensor, branches: Branches) -> torch.Tensor:
        """Logits of the last token of each branch (branches, 1, vocabulary); `branches` grows by `ids`."""
        rows, tokens = ids.shape
        positions, mask = branches.extend(rows, tokens)
        last = torch.arange(tokens - 1, rows * tokens, tokens, device=self.model.device)
        keep = {"logits_to_keep": last} if "logits_to_keep" in self._accepted else {}
        output = self.model(
            input_ids=ids.reshape(1, -1).to(self.model.device),
            position_ids=positions,
            attention_mask=mask,
            **{self._cache_argument: branches.cache},
            use_cache=True,
            **keep,
        )
        logits = output.logits if "logits_to_keep" in self._accepted else output.logits[:, last]
        return logits[0, :, None].float()

    def _keep(self, positions: int) -> dict[str, int]:
        """Return the argument that spares the head all other positions, where the model knows it."""
        return {"logits_to_keep": positions} if "logits_to_keep" in self._accepted else {}


def _keeps_states_alone(cache: Cache) -> bool:
    return all(getattr(layer, "keys", None) is None for layer in cache.layers)


def _not_finite(tokens: int) -> str:
    return (
        f"the model's logits are not finite after {tokens} tokens; check its weights and its number type "
        "(float16 overflows in many models; try bfloat16 or float32)"
    )
