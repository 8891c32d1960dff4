"""Needle grids with shared prefixes against the loop of the public harnesses: one prefill and generate a sample.

    python benchmarks/needle.py [--model demo|30m|PATH] [--lengths 512,1024]

Both arms answer the same prompts (5 lengths x 10 depths x 5 samples, ten questions about one haystack), each in a
process of its own, one after the other. Prints a Markdown table and, as its last line, one JSON object:

- `times_faster`: seconds of the loop / of ours (goal: at least 5), by the processor's clock, which other work on the
  machine does not slow down; `times_faster_wall` by the wall's;
- `identical_answers`: whether every generated text is the same;
- `share_not_recomputed`: tokens that ours did not compute again / tokens of the loop; `bound`: 1 - 1 / questions of
  a haystack, which nobody can pass on these prompts;
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
from lsw_hf.recipes.tiny_model import build_tiny_model
from lsw_hf.recipes.tiny_needle import TinyNeedleTask
from lsw_hf.recipes.tiny_world import build_tokenizer

LENGTHS = {"demo": (512, 1024, 2048, 4096, 8192), "30m": (512, 768, 1024, 1536, 2048)}
DEPTHS = tuple(round(0.05 + 0.1 * index, 2) for index in range(10))
QUESTIONS = 10


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


def load(name: str, lengths: tuple[int, ...]) -> tuple[Any, Any, NeedleTask]:
    """Model, tokenizer and needles of one of the two built-in choices or of a folder."""
    if name == "demo":
        tokenizer = build_tokenizer(max(lengths))
        return build_tiny_model(len(tokenizer), max(lengths), seed=0), tokenizer, TinyNeedleTask()
    if name == "30m":
        tokenizer = prose_tokenizer()
        return random_model(tokenizer, max(lengths)), tokenizer, ProseNeedleTask()
    tokenizer = AutoTokenizer.from_pretrained(name)
    task = TinyNeedleTask() if "Marlow" in tokenizer.get_vocab() else ProseNeedleTask()
    return AutoModelForCausalLM.from_pretrained(name), tokenizer, task


def run_arm(arm: str, name: str, lengths: tuple[int, ...]) -> dict[str, Any]:
    """Answers, seconds and peak memory of one arm; the building of prompts is timed in both."""
    model, tokenizer, task = load(name, lengths)
    model.eval()
    grid = NeedleGrid(lengths, depths=DEPTHS, num_samples=5, questions_per_haystack=QUESTIONS)
    encoder, computed = NeedleEncoder(tokenizer, task, "plain"), 0
    start, start_cpu = time.perf_counter(), time.process_time()
    if arm == "shared":
        report = evaluate_needle(model, tokenizer, grid, task, prompt_style="plain", progress=False)
        answers = [sample.answered for sample in report.samples]
    else:
        answers = []
        for length in lengths:
            for questions in iterate_haystacks(encoder, grid, length):
                for question in questions:
                    ids = torch.tensor([question.input_ids])
                    out = model.generate(
                        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=task.max_new_tokens
                    )
                    answers.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    haystacks = {length: len(grid.plans(length)) for length in lengths}
    computed = sum(length * haystacks[length] for length in lengths)
    return {
        "answers": answers,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "tokens": computed if arm == "shared" else sum(lengths) * len(DEPTHS) * grid.num_samples,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="demo, 30m, or a folder with a model")
    parser.add_argument("--lengths", default=None, help="tokens, as in 512,1024")
    parser.add_argument("--arm", choices=("shared", "loop"), default=None, help="run one arm only, and print its JSON")
    options = parser.parse_args()
    default = LENGTHS.get(options.model, LENGTHS["demo"])
    lengths = tuple(map(int, options.lengths.split(","))) if options.lengths else default
    if options.arm:
        print(json.dumps(run_arm(options.arm, options.model, lengths)))
        return
    arms = {}
    for arm in ("shared", "loop"):
        command = [sys.executable, __file__, "--model", options.model, "--arm", arm]
        command += ["--lengths", ",".join(map(str, lengths))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        arms[arm] = json.loads(done.stdout.splitlines()[-1])
    ours, loop = arms["shared"], arms["loop"]
    print("| arm | seconds | processor seconds | tokens computed | peak memory (MB) |")
    print("| :--- | ---: | ---: | ---: | ---: |")
    for arm, found in arms.items():
        print(
            f"| {arm} | {found['seconds']:.1f} | {found['cpu_seconds']:.1f} | {found['tokens']:,} "
            f"| {found['memory_mb']:.0f} |"
        )
    figures = {
        "model": options.model,
        "lengths": lengths,
        "samples": len(loop["answers"]),
        "different_answers": len(set(loop["answers"])),
        "times_faster": round(loop["cpu_seconds"] / ours["cpu_seconds"], 2),
        "times_faster_wall": round(loop["seconds"] / ours["seconds"], 2),
        "identical_answers": ours["answers"] == loop["answers"],
        "share_not_recomputed": round(1 - ours["tokens"] / loop["tokens"], 4),
        "bound": round(1 - 1 / QUESTIONS, 4),
        "memory_ratio": round(ours["memory_mb"] / loop["memory_mb"], 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
