"""Needle grids with shared prefixes against the loop of the public harnesses: one prefill and generate a question.

    python benchmarks/needle.py --demo demo --output-dir benchmarks/results

Both arms answer the same prompts (5 lengths x 10 depths x 5 samples, for the larger model 2, ten questions about one
haystack), each in a process of its own, one after the other, for each model: the demo's (trained, if the folder that
`lsw-hf demo` wrote is given) and a random one of 30M parameters. Prints a Markdown table after each and, as its
last line, one JSON object with, for each model:

- `times_faster`: seconds of the loop / of ours (goal: at least 5), by the processor's clock, which other work on the
  machine does not slow down; `times_faster_wall` by the wall's;
- `identical_answers`: whether every generated text is the same; `different_answers`: how many different texts these
  are, `right_answers`: how many of them are right;
- `share_not_recomputed`: 1 - tokens that went through the model in ours / in the loop, counted in the model's forward;
  `bound`: 1 - 1 / questions of a haystack, which nobody can pass on these prompts;
- `memory_ratio`: peak memory of ours / of the loop (goal: at most 1).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lsw_hf.evaluation.needle import NeedleGrid, evaluate_needle, iterate_haystacks
from lsw_hf.evaluation.needle_task import NeedleTask, ProseNeedleTask
from lsw_hf.evaluation.prompting import NeedleEncoder
from lsw_hf.evaluation.scoring import is_correct
from lsw_hf.recipes.tiny_model import build_tiny_model
from lsw_hf.recipes.tiny_needle import TinyNeedleTask
from lsw_hf.recipes.tiny_world import build_tokenizer

LENGTHS = {"demo": (512, 1024, 2048, 4096, 8192), "30m": (512, 768, 1024, 1536, 2048)}
DEPTHS = tuple(round(0.05 + 0.1 * index, 2) for index in range(10))
QUESTIONS = 10
# Samples a cell. The loop of the larger model takes minutes: fewer samples give the same ratio of two sums.
SAMPLES = {"demo": 5, "30m": 2}


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
        return random_model(tokenizer, max(lengths)), tokenizer, ProseNeedleTask()
    if demo is None:
        tokenizer = build_tokenizer(max(lengths))
        return build_tiny_model(len(tokenizer), max(lengths), seed=0), tokenizer, TinyNeedleTask()
    return AutoModelForCausalLM.from_pretrained(demo), AutoTokenizer.from_pretrained(demo), TinyNeedleTask()


def run_arm(arm: str, options: argparse.Namespace) -> dict[str, Any]:
    """Answers, seconds, tokens through the model and peak memory of one arm; building prompts is timed in both."""
    lengths, samples = options.lengths or LENGTHS[options.model], options.num_samples or SAMPLES[options.model]
    model, tokenizer, task = load(options.model, lengths, options.demo)
    model.eval()
    grid = NeedleGrid(lengths, depths=DEPTHS, num_samples=samples, questions_per_haystack=QUESTIONS)
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
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=task.max_new_tokens
            )
            answers.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
            verdicts.append(is_correct(question.fact.answer, answers[-1]))
    return {
        "answers": answers,
        "right": sum(verdicts),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
        "tokens": computed,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def compare_arms(name: str, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Figures and table rows of one model; each arm has a process of its own, so that peak memory is its own."""
    lengths, samples = options.lengths or LENGTHS[name], options.num_samples or SAMPLES[name]
    arms = {}
    for arm in ("shared", "loop"):
        command = [sys.executable, __file__, "--arm", arm, "--model", name, "--num-samples", str(samples)]
        command += ["--lengths", ",".join(map(str, lengths))] + (["--demo", options.demo] if options.demo else [])
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        arms[arm] = json.loads(done.stdout.splitlines()[-1])
    ours, loop = arms["shared"], arms["loop"]
    rows = [
        f"| {name} | {arm} | {found['cpu_seconds']:.1f} | {found['seconds']:.1f} | {found['tokens']:,} "
        f"| {found['memory_mb']:.0f} | {found['right']} of {len(found['answers'])} |"
        for arm, found in arms.items()
    ]
    figures = {
        "lengths": lengths,
        "questions": len(loop["answers"]),
        "samples_a_cell": samples,
        "different_answers": len(set(loop["answers"])),
        "right_answers": loop["right"],
        "times_faster": round(loop["cpu_seconds"] / ours["cpu_seconds"], 2),
        "times_faster_wall": round(loop["seconds"] / ours["seconds"], 2),
        "identical_answers": ours["answers"] == loop["answers"],
        "share_not_recomputed": round(1 - ours["tokens"] / loop["tokens"], 4),
        "bound": round(1 - 1 / QUESTIONS, 4),
        "memory_ratio": round(ours["memory_mb"] / loop["memory_mb"], 3),
    }
    return figures, rows


def page(found: dict[str, tuple[dict[str, Any], list[str]]]) -> str:
    """The table, and what it says in one line a model."""
    lines = [
        "| model | arm | processor seconds | wall seconds | tokens through the model | peak memory (MB) | right |",
        "| :--- | :--- | ---: | ---: | ---: | ---: | ---: |",
        *(row for _, rows in found.values() for row in rows),
        "",
    ]
    for name, (figures, _) in found.items():
        span = ", ".join(f"{length:,}" for length in figures["lengths"])
        lines.append(
            f"- {name}: {figures['times_faster']} times faster ({figures['times_faster_wall']} by the wall); "
            f"{figures['questions']} questions, {figures['different_answers']} different answers, "
            f"{'all' if figures['identical_answers'] else 'NOT all'} the same in both arms; "
            f"{100 * figures['share_not_recomputed']:.1f} % of the tokens not computed again (bound: "
            f"{100 * figures['bound']:.0f} %); peak memory {figures['memory_ratio']} of the loop's; lengths {span}, "
            f"{len(DEPTHS)} depths, {figures['samples_a_cell']} samples a cell, {QUESTIONS} questions a haystack"
        )
    machine = f"torch {torch.__version__} with {torch.get_num_threads()} thread(s) on a CPU"
    return "\n".join([*lines, "", f"Measured with {machine}, which had other work to do."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("demo", "30m"), default=None, help="one of the two only")
    parser.add_argument("--demo", default=None, help="folder with the demo's model; its untrained shape otherwise")
    parser.add_argument("--lengths", type=lambda text: tuple(map(int, text.split(","))), help="tokens, as in 512,1024")
    parser.add_argument("--num-samples", type=int, default=None, help="questions a cell (default: 5; 30m: 2)")
    parser.add_argument("--output-dir", type=Path, help="folder to write needle.md and needle.json to")
    parser.add_argument("--arm", choices=("shared", "loop"), default=None, help="run one arm only, and print its JSON")
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(run_arm(options.arm, options)))
        return
    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name in [options.model] if options.model else LENGTHS:
        found[name] = compare_arms(name, options)
        text, figures = page(found), {name: one for name, (one, _) in found.items()}
        print(text, flush=True)
        # Written after each model: the loop of the larger one takes long.
        if options.output_dir:
            (options.output_dir / "needle.md").write_text(text, encoding="utf-8")
            (options.output_dir / "needle.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
