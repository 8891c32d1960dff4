"""Needle grids with shared prefixes against the loop of the public harnesses: one prefill and generate a question.

    python benchmarks/needle.py --demo demo --output-dir benchmarks/results

Both arms answer the same prompts (5 lengths x 10 depths x 5 samples, for the second test 2), each in a process of its
own, one after the other, for two models, the demo's (trained, if its folder is given) and a random one of 30M
parameters, and for two tests: ten questions about one haystack, and one needle that moves through the depths of a text
(the default of `NeedleGrid`). A Markdown table and a JSON object are printed, and written after each pair, with these
figures for each model and test:

- `times_faster`: seconds of the loop / of ours (goal with ten questions: at least 5), by the processor's clock, which
  other work on the machine does not slow down; `times_faster_wall` by the wall's;
- `verdicts_that_differ`: of all questions; `texts_that_differ`: generated texts; `different_answers`: how many
  different texts there are, `right_answers`: how many of them are right;
- `share_not_recomputed`: 1 - tokens that went through the model in ours / in the loop, counted in the model's forward;
  `bound`: what nobody can pass on these prompts: 1 - 1 / questions of a haystack, and with a moving needle 1 - (the
  deepest needle's depth + the sum of all endings) / depths;
- `memory_ratio`: peak memory of ours / of the loop (goal: at most 1).
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.figures import benchmark_parser, keep, parse, peak_memory
from lsw_hf.demo.model import build_tiny_model
from lsw_hf.demo.needle_task import TinyNeedleTask
from lsw_hf.demo.world import build_tokenizer
from lsw_hf.evaluation.needle.grid import NeedleGrid, evaluate_needle, iterate_haystacks
from lsw_hf.evaluation.needle.task import NeedleEncoder, NeedleTask, ProseNeedleTask
from lsw_hf.evaluation.scoring import is_correct
from lsw_hf.reports import markdown_table

# The larger model's lengths: below 1,024 tokens ten facts crowd a text; the loop shall not take an hour on one core.
LENGTHS = {"demo": (512, 1024, 2048, 4096, 8192), "30m": (1024, 1152, 1280, 1408, 1536)}
DEPTHS = tuple(round(0.05 + 0.1 * index, 2) for index in range(10))
# Questions a cell: the moving needle's loop costs as much as the other one, for a ratio that is near to 1.
SAMPLES = {"ten questions": 5, "moving needle": 2}
# Most questions about one haystack.
TESTS = {"ten questions": 10, "moving needle": 1}
# A word of the answer; the random model says nothing that is worth more.
MAX_NEW_TOKENS = 4
# What nobody can pass on these prompts.
BOUNDS = {
    "ten questions": 1 - 1 / 10,
    "moving needle": 1 - (max(DEPTHS) + sum(1 - depth for depth in DEPTHS)) / len(DEPTHS),
}


def random_model(tokenizer: PreTrainedTokenizerFast, positions: int) -> LlamaForCausalLM:
    """A Llama of 30M parameters with random weights: as much work as a trained one."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=positions, initializer_range=0.05, eos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def prose_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 4,000 pieces, trained on sources of the standard library."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    texts = [Path(module.__file__).read_text(encoding="utf-8") for module in (argparse, json, subprocess)]
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def load(name: str, lengths: tuple[int, ...], demo: str | None) -> tuple[Any, Any, NeedleTask]:
    """Model, tokenizer and needles of one of the two models."""
    if name == "30m":
        tokenizer = prose_tokenizer()
        return random_model(tokenizer, max(lengths)), tokenizer, ProseNeedleTask("word")
    if demo is None:
        tokenizer = build_tokenizer(max(lengths))
        return build_tiny_model(len(tokenizer), max(lengths), seed=0), tokenizer, TinyNeedleTask()
    folder = Path(demo) / "model" if (Path(demo) / "model").is_dir() else Path(demo)
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), TinyNeedleTask()


def run_arm(arm: str, options: argparse.Namespace) -> dict[str, Any]:
    """Answers, seconds, tokens through the model and peak memory of one arm; building prompts is timed in both."""
    lengths = options.lengths or LENGTHS[options.model]
    model, tokenizer, task = load(options.model, lengths, options.demo)
    model.eval()
    grid = NeedleGrid(
        lengths,
        depths=DEPTHS,
        num_samples=options.num_samples,
        questions_per_haystack=TESTS[options.test],
        max_new_tokens=min(task.max_new_tokens, MAX_NEW_TOKENS),
    )
    computed = 0

    def count(_module: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        nonlocal computed
        computed += inputs["input_ids"].numel()

    model.register_forward_pre_hook(count, with_kwargs=True)
    start, start_cpu = time.perf_counter(), time.process_time()
    if arm == "shared":
        report = evaluate_needle(model, tokenizer, grid, task, prompt_style="plain", progress=False)
        answers = [sample.answered for sample in report.samples]
        verdicts = [sample.correct for sample in report.samples]
    else:
        answers, verdicts = [], []
        encoder = NeedleEncoder(tokenizer, task, "plain")
        questions = (q for length in lengths for group in iterate_haystacks(encoder, grid, length) for q in group)
        for question in questions:
            ids = torch.tensor([question.input_ids])
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=grid.max_new_tokens
            )
            answers.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
            verdicts.append(is_correct(question.fact.answer, answers[-1]))
    return {
        "answers": answers,
        "verdicts": verdicts,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
        "tokens": computed,
        "memory_mb": peak_memory() / 1024**2,
    }


def compare_arms(name: str, test: str, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one model and test; each arm has a process of its own, so that peak memory is its own."""
    lengths, samples, arms = options.lengths or LENGTHS[name], options.num_samples or SAMPLES[test], {}
    for arm in ("shared", "loop"):
        command = [sys.executable, __file__, "--arm", arm, "--model", name, "--test", test]
        command += ["--num-samples", str(samples), "--lengths", ",".join(map(str, lengths))]
        command += ["--demo", options.demo] if options.demo else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        arms[arm] = json.loads(done.stdout.splitlines()[-1])
    ours, loop = arms["shared"], arms["loop"]
    differing = {
        kind: sum(one != other for one, other in zip(ours[kind], loop[kind], strict=True))
        for kind in ("answers", "verdicts")
    }
    return {
        "lengths": lengths,
        "questions": len(loop["answers"]),
        "samples_a_cell": samples,
        "different_answers": len(set(loop["answers"])),
        "right_answers": sum(loop["verdicts"]),
        "times_faster": round(loop["cpu_seconds"] / ours["cpu_seconds"], 2),
        "times_faster_wall": round(loop["seconds"] / ours["seconds"], 2),
        "verdicts_that_differ": differing["verdicts"],
        "texts_that_differ": differing["answers"],
        "share_not_recomputed": round(1 - ours["tokens"] / loop["tokens"], 4),
        "bound": round(BOUNDS[test], 4),
        "memory_ratio": round(ours["memory_mb"] / loop["memory_mb"], 3),
        "arms": {
            arm: {key: round(found[key], 2) for key in ("cpu_seconds", "seconds", "tokens", "memory_mb")}
            for arm, found in arms.items()
        },
    }


def page(found: dict[str, dict[str, Any]]) -> str:
    """A row an arm, and what the rows say in one line a model and test."""
    header = (
        "model, test",
        "arm",
        "processor seconds",
        "wall seconds",
        "tokens through the model",
        "peak memory (MB)",
    )
    rows = [
        (
            name,
            arm,
            f"{one['cpu_seconds']:.1f}",
            f"{one['seconds']:.1f}",
            f"{one['tokens']:,}",
            f"{one['memory_mb']:.0f}",
        )
        for name, figures in found.items()
        for arm, one in figures["arms"].items()
    ]
    lines = [markdown_table(header, rows, "llrrrr"), ""]
    for name, figures in found.items():
        span = ", ".join(f"{length:,}" for length in figures["lengths"])
        lines.append(
            f"- {name}: {figures['times_faster']} times faster ({figures['times_faster_wall']} by the wall); verdicts "
            f"that differ: {figures['verdicts_that_differ']} of {figures['questions']}, generated texts: "
            f"{figures['texts_that_differ']} (the loop gave {figures['different_answers']} different ones, "
            f"{figures['right_answers']} right); {100 * figures['share_not_recomputed']:.2f} % of the tokens not "
            f"computed again (bound: {100 * figures['bound']:.1f} %); peak memory {figures['memory_ratio']} of the "
            f"loop's; lengths {span}, {len(DEPTHS)} depths, {figures['samples_a_cell']} samples a cell"
        )
    machine = f"torch {torch.__version__} with {torch.get_num_threads()} thread(s) on a CPU"
    return "\n".join([*lines, "", f"Measured with {machine}, which had other work to do."]) + "\n"


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--model", choices=("demo", "30m"), default=None, help="one of the two only")
    parser.add_argument("--demo", default=None, help="folder that `lsw-hf demo` wrote; otherwise an untrained model")
    parser.add_argument("--lengths", type=lambda text: tuple(map(int, text.split(","))), help="tokens, as in 512,1024")
    parser.add_argument("--num-samples", type=int, default=None, help="questions a cell")
    parser.add_argument("--test", choices=tuple(TESTS), default=None, help="one of the two only")
    parser.add_argument("--resume", action="store_true", help="keep the pairs that needle.json there holds")
    parser.add_argument("--arm", choices=("shared", "loop"), default=None, help="run one arm only, and print its JSON")
    options = parse(parser)
    if options.arm:
        print(json.dumps(run_arm(options.arm, options)))
        return
    found: dict[str, dict[str, Any]] = {}
    if options.resume and options.output_dir and (options.output_dir / "needle.json").exists():
        found = json.loads((options.output_dir / "needle.json").read_text(encoding="utf-8"))
    for test in [options.test] if options.test else TESTS:
        for name in [options.model] if options.model else LENGTHS:
            if f"{name}, {test}" in found:
                continue
            found[f"{name}, {test}"] = compare_arms(name, test, options)
            print(page(found), flush=True)
            # Written after each pair: the loops take long.
            keep("needle", page(found), found, options.output_dir)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
