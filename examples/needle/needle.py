# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "lsw-hf[plot]",
#     "transformers>=5.17,<6",
# ]
# ///
"""Measure what a model finds in a long text: a table, a JSON file, a heat map.

python examples/needle/needle.py --model PATH_OR_ID --lengths 4096 16384 65536 --output needle
"""

import argparse

from transformers import AutoModelForCausalLM, AutoTokenizer

from lsw_hf import NeedleGrid, evaluate_needle

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--lengths", type=int, nargs="+", required=True)
parser.add_argument("--samples", type=int, default=10)
parser.add_argument("--output", required=True)
options = parser.parse_args()

model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(options.model)
grid = NeedleGrid(context_lengths=tuple(options.lengths), num_samples=options.samples, questions_per_haystack=5)
report = evaluate_needle(model, tokenizer, grid)
report.save(f"{options.output}.json")
report.plot(f"{options.output}.png")
print(report.to_markdown())
