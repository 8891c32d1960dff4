# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "lsw-hf[plot]",
#     "transformers>=5.17,<6",
# ]
# ///
r"""The whole recipe on your model and your data, from Python; `lsw-hf train` does the same from the shell.

    python examples/longskywork_recipe/longskywork_recipe.py \
        --model PATH_OR_ID --documents corpus/ --instructions chats.jsonl --context-length 131072 --output-dir mine

Killed? Run the same line again: finished stages are not repeated, and the weights end the same.
"""

import argparse

from transformers import AutoTokenizer

from lsw_hf import LongSkyworkRecipe, load_documents, load_instructions

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--documents", required=True)
parser.add_argument("--instructions", required=True)
parser.add_argument("--context-length", type=int, required=True)
parser.add_argument("--max-steps", type=int, default=200)
parser.add_argument("--output-dir", required=True)
options = parser.parse_args()

stages = ("continual_pretraining", "sft", "long_sft")
recipe = LongSkyworkRecipe(
    model=options.model,
    tokenizer=AutoTokenizer.from_pretrained(options.model),
    context_length=options.context_length,
    output_dir=options.output_dir,
    options={name: {"max_steps": options.max_steps, "per_device_train_batch_size": 1} for name in stages},
)
print(recipe.plan())
results = recipe.run(
    documents=load_documents(options.documents),
    instructions=load_instructions(options.instructions),
)
print(results.model_path)
