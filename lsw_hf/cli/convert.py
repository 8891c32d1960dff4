"""`lsw-hf convert`: a legacy Skywork-13B folder as a checkpoint that today's programs read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from .output import CommandOutput
from .parser import CommandParser, count

HELP = "convert a legacy Skywork-13B folder to a stock Llama checkpoint, or to LongSkywork"
EXAMPLE = "lsw-hf convert Skywork-13B-Base skywork-13b-llama --allow-pickle"
DETAILS = """Copies the weights tensor by tensor (under 4 GB of memory for 13B), bakes the chat tokens and the chat
format into a fast tokenizer that is compared with the SentencePiece one, and writes conversion_report.json: every
tensor, its checksum, and what was changed. With --to llama, transformers, vLLM, llama.cpp and PEFT need no code of
ours."""


def rope_parameters(text: str) -> dict:
    """Return the argparse type of `--rope-parameters`."""
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text!r} ({error})") from error
    if not isinstance(given, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text!r}")
    return given


def main(arguments: Sequence[str]) -> int:
    """Convert with the given options and return the exit status."""
    parser = CommandParser("convert", details=DETAILS, example=EXAMPLE)
    parser.add_argument("src", help="the legacy folder (model_type: skywork)")
    parser.add_argument("dst", help="the folder to make")
    parser.add_argument(
        "--to", choices=("llama", "longskywork"), default="llama", help="what to make (default: llama)"
    )
    parser.add_argument("--allow-pickle", action="store_true", help="read .bin weights, as plain tensors only")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="cast to (default: as stored)")
    parser.add_argument("--checksums", help="a file as sha256sum writes it; the source's files must match")
    parser.add_argument("--rope-parameters", type=rope_parameters, help="JSON, instead of what the legacy config says")
    parser.add_argument("--shard-bytes", type=count(1), default=10**9, help="most bytes in a file (default: 1e9)")
    parser.add_json_option()
    options = parser.parse(arguments)

    import torch

    from ..conversion.skywork import convert_checkpoint

    with CommandOutput(options.json) as output:
        report = convert_checkpoint(
            options.src,
            options.dst,
            to=options.to,
            allow_pickle=options.allow_pickle,
            rope_parameters=options.rope_parameters,
            dtype=getattr(torch, options.dtype) if options.dtype else None,
            checksums=options.checksums,
            shard_bytes=options.shard_bytes,
        )
        changed = sum(bool(tensor.change) for tensor in report.tensors)
        lines = [
            f"{len(report.tensors)} tensors written, {changed} of them changed; {len(report.dropped)} left out.",
            *(f"- {change}" for change in report.changes),
            f"The tokenizer equals SentencePiece on {report.probe_texts} probe texts.",
            f"Open {options.dst}/conversion_report.json",
        ]
        facts = {
            "tensors": len(report.tensors),
            "tensors_changed": changed,
            "tensors_left_out": len(report.dropped),
            "changes": report.changes,
            "probe_texts": report.probe_texts,
            "report": f"{options.dst}/conversion_report.json",
        }
        output.show("\n".join(lines), facts)
    return 0
