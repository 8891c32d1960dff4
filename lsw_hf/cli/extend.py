"""`lsw-hf extend`: a longer context window for a saved checkpoint, without loading its weights."""

from __future__ import annotations

from collections.abc import Sequence

from .output import CommandOutput
from .parser import CommandParser, count

HELP = "write a copy of a checkpoint with a longer context window, without loading its weights"
EXAMPLE = "lsw-hf extend --model PATH_OR_ID --context-length 131072 --output-dir DIR"
DETAILS = """Writes a copy of a saved model whose configuration, tokenizer and generation settings have the longer
window, in the spelling of transformers 4 and 5 alike. Where its makers had scaled it already, the method goes on from
their scaling. Safetensors are hard-linked, the rest is copied, and no weight is loaded, so memory does not grow with
the model. The result is verified and described; training it comes next."""
OPTIONS = (
    ("--rope-theta", "rope_theta", "new base (for abf; for yarn, linear, llama3 and longrope beside the scaling)"),
    ("--factor", "factor", "scaling factor (default: the one in force, times target length over window)"),
    ("--attention-factor", "attention_factor", "multiplier of cosine and sine, for yarn and longrope"),
)


def main(arguments: Sequence[str]) -> int:
    """Extend a checkpoint with the given options and return the exit status."""
    parser = CommandParser("extend", details=DETAILS, example=EXAMPLE)
    parser.add_argument("--model", required=True, help="folder of a saved model, or a Hub id")
    parser.add_argument("--context-length", type=count(1), required=True, help="target length in tokens")
    parser.add_argument(
        "--method",
        default="auto",
        help="linear, ntk, abf, yarn, llama3, longrope, none, or auto (the default): the makers' own scaling where "
        "they scaled the model, else yarn; none where only local layers rotate",
    )
    parser.add_argument("--output-dir", required=True, help="folder to write; must not exist or be empty")
    for flag, name, text in OPTIONS:
        parser.add_argument(flag, dest=name, type=float, default=None, help=text)
    parser.add_argument(
        "--rope-factors", default=None, help="JSON file with the list of factors of longrope, one per rotated pair"
    )
    parser.add_argument(
        "--original-context-length",
        type=count(1),
        default=None,
        help="length at pretraining, if the files do not tell; the window, if a linear scaling left it as it was",
    )
    parser.add_argument("--revision", default=None, help="branch, tag or commit of a Hub id")
    parser.add_argument("--trust-remote-code", action="store_true", help="run configuration code from the model")
    parser.add_json_option()
    options = parser.parse(arguments)

    import json
    from pathlib import Path

    from ..context.checkpoint import extend_checkpoint

    given = {name: getattr(options, name) for _, name, _ in OPTIONS}
    given["original_context_length"] = options.original_context_length
    if options.rope_factors is not None:
        try:
            given["rope_factors"] = json.loads(Path(options.rope_factors).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            parser.error(f"argument --rope-factors: {options.rope_factors} is no JSON list of numbers ({error})")
    with CommandOutput(options.json) as output:
        report = extend_checkpoint(
            options.model,
            options.output_dir,
            context_length=options.context_length,
            method=options.method,
            options={name: value for name, value in given.items() if value is not None},
            trust_remote_code=options.trust_remote_code,
            revision=options.revision,
        )
        output.show(report.to_markdown(), report)
        output.show(f"\nThe extended model is in {options.output_dir}.", {"output_dir": options.output_dir})
    return 0
