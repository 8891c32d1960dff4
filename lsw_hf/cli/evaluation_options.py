"""Options that the evaluating commands share: which model, which grid, which needles."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .parser import CommandParser, count

PROSE_KINDS = ("number", "word", "uuid", "sentence")


def numbers(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Return an argparse type for comma-separated values, as in `4096,32768`."""

    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part.replace("_", "")) for part in text.split(",") if part.strip())
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None

    return parse


def add_model_options(parser: CommandParser) -> None:
    """Which model, and how it is loaded."""
    parser.add_argument("--model", required=True, help="folder or Hub id of a causal language model")
    parser.add_argument("--revision", default=None, help="commit, tag or branch on the Hub")
    parser.add_argument("--trust-remote-code", action="store_true", help="allow the model's own code to run")
    parser.add_argument("--dtype", default="auto", help="number type, such as bfloat16 (default: that of the file)")
    parser.add_argument("--device", default=None, help="device (default: cuda if there is one, else cpu)")


def add_grid_options(parser: CommandParser) -> None:
    """Lengths, depths, samples, and what the needles are."""
    parser.add_argument("--context-lengths", type=numbers(int), required=True, help="tokens, as in 4096,32768")
    parser.add_argument(
        "--depths", type=numbers(float), default=(0.1, 0.3, 0.5, 0.7, 0.9), help="default: 0.1,0.3,0.5,0.7,0.9"
    )
    parser.add_argument("--num-samples", type=count(1), default=10, help="questions a cell (default: 10)")
    parser.add_argument(
        "--questions-per-haystack", type=count(1), default=1,
        help="questions that share one computed haystack; above 1 is much faster, and a different test (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--separate-haystacks", action="store_true",
        help="draw a text for every question (default: the depths of a sample share one, read once up to the needle)",
    )  # fmt: skip
    parser.add_argument("--distractors", type=float, default=0.0, help="similar facts in 64 tokens (default: 0)")
    parser.add_argument("--max-distractors", type=count(0), default=None, help="most similar facts in one haystack")
    parser.add_argument(
        "--scoring", default="contains", help="contains, exact, normalized or likelihood (default: contains)"
    )
    parser.add_argument(
        "--task", default="number",
        help="number, word, uuid, sentence; tiny (the demo's world); or MODULE:CLASS of your own (default: number)",
    )  # fmt: skip
    parser.add_argument(
        "--language",
        default=None,
        choices=("en", "zh"),
        help="language of the built-in needles: en or zh (default: en)",
    )
    parser.add_argument("--haystack", nargs="+", default=None, help="UTF-8 text files to hide the needles in")
    parser.add_argument("--prompt-style", default="auto", choices=("auto", "plain", "chat"), help="default: auto")
    parser.add_argument("--seed", type=count(0), default=0, help="seed of haystacks and needles (default: 0)")


def load_model(options: argparse.Namespace, path: str | None = None) -> tuple[Any, Any]:
    """Return model and tokenizer of the options, or of another path under the same options."""
    import torch
    from transformers import AutoModelForCausalLM

    from ..context.saved_model import load_tokenizer

    place = options.model if path is None else path
    hub = {"revision": options.revision if path is None else None, "trust_remote_code": options.trust_remote_code}
    tokenizer = load_tokenizer(place, hub)
    model = AutoModelForCausalLM.from_pretrained(place, dtype=options.dtype, **hub)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device).eval(), tokenizer


def model_window(options: argparse.Namespace, place: str) -> int | None:
    """Return the window that a model's configuration declares; refuses a missing model before another one is run."""
    from ..context.saved_model import load_config

    revision = options.revision if place == options.model else None
    config = load_config(place, revision=revision, trust_remote_code=options.trust_remote_code)
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)


def grid_from(options: argparse.Namespace) -> Any:
    """Return the `NeedleGrid` of the options; refuses bad values before a model is loaded."""
    from ..evaluation.needle.grid import NeedleGrid

    return NeedleGrid(
        context_lengths=options.context_lengths,
        depths=options.depths,
        num_samples=options.num_samples,
        questions_per_haystack=options.questions_per_haystack,
        shared_haystack=not options.separate_haystacks,
        distractors_per_64_tokens=options.distractors,
        max_distractors=options.max_distractors,
        scoring=options.scoring,
        seed=options.seed,
    )


def filler_from(options: argparse.Namespace) -> Any:
    """Return the text of the user's files that needles are hidden in, `None` for built-in prose."""
    from ..evaluation.texts.fillers import TextFiller

    return None if options.haystack is None else TextFiller.from_files(*options.haystack)


def task_from(options: Any) -> Any:
    """Return the needle task of the options.

    Raises:
        ValueError: for a task that is neither built in nor importable, or text options that it has no use for.
    """
    from ..evaluation.needle.task import NeedleTask, ProseNeedleTask

    name: Any = "lsw_hf.demo.needle_task:TinyNeedleTask" if options.task == "tiny" else options.task
    if ":" not in name:
        if name not in PROSE_KINDS:
            raise ValueError(f"--task must be one of {', '.join(PROSE_KINDS)}, tiny or MODULE:CLASS; got {name!r}")
        return ProseNeedleTask(name, options.language or "en", filler_from(options))
    if options.haystack is not None or options.language is not None:
        raise ValueError(
            f"--haystack and --language belong to the built-in needles; --task {options.task} brings its own text"
        )
    module, _, attribute = name.partition(":")
    try:
        task = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--task {name}: {error}") from error
    if not isinstance(task, NeedleTask):
        raise ValueError(f"--task {name} is no NeedleTask: it needs name, separator, max_new_tokens, chance, "
                         "sentences(), facts() and prompt()")  # fmt: skip
    return task
