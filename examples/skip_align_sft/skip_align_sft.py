# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "lsw-hf",
#     "datasets>=4.7,<6",
#     "transformers>=5.17,<6",
#     "trl>=1.10,<2",
# ]
# ///
r"""SkipAlign in a TRL script of your own: the marked line is the only change.

    python examples/skip_align_sft/skip_align_sft.py \
        --model PATH_OR_ID --rows chats.jsonl --context-length 131072 --output-dir out

Rows are prompt/completion. Positions reach the target length while the rows stay
as short as they are.
"""

import argparse

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from lsw_hf import DataCollatorForSkipAlign, extend_context

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--rows", required=True)
parser.add_argument("--context-length", type=int, required=True)
parser.add_argument("--max-steps", type=int, default=500)
parser.add_argument("--output-dir", required=True)
options = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(options.model)
model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
extend_context(model, context_length=options.context_length)
trainer = SFTTrainer(
    model,
    args=SFTConfig(options.output_dir, max_steps=options.max_steps, bf16=False, report_to="none"),
    train_dataset=load_dataset("json", data_files=options.rows, split="train"),
    processing_class=tokenizer,
    data_collator=DataCollatorForSkipAlign(tokenizer.pad_token_id, context_length=options.context_length),  # this one
)
trainer.train()
trainer.save_model()
