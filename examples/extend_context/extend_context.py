# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "lsw-hf",
#     "transformers>=5.17,<6",
# ]
# ///
"""Give a stock model a longer window, prove what was written, and save it: no training, no custom class.

python examples/extend_context/extend_context.py --model PATH_OR_ID --context-length 131072 --output-dir extended
"""

import argparse

from transformers import AutoModelForCausalLM, AutoTokenizer

from lsw_hf import extend_context, extend_tokenizer, verify_context

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--context-length", type=int, required=True)
parser.add_argument("--method", default="auto", help="auto, linear, ntk, abf, yarn, llama3, longrope or none")
parser.add_argument("--output-dir", required=True)
options = parser.parse_args()

model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
extend_context(model, context_length=options.context_length, method=options.method)
model.save_pretrained(options.output_dir)
tokenizer = AutoTokenizer.from_pretrained(options.model)
extend_tokenizer(tokenizer, options.context_length).save_pretrained(options.output_dir)

report = verify_context(options.output_dir, model=model)  # raises if the saved window is not the live one
print(f"{report.rope_type}, factor {report.factor:g}, base {report.rope_theta:g}: {report.context_length:,} tokens")
