# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "lsw-hf[data]",
#     "datatrove>=0.10,<1",
#     "transformers>=5.17,<6",
# ]
# ///
r"""Chunk-interleaved windows of a large corpus with datatrove: one task a rank, one parquet file a task.

    python examples/datatrove_windows/datatrove_windows.py \
        --documents shards/ --model PATH_OR_ID --window-length 32768 --output windows

`shards/` holds .txt, .jsonl or .parquet files, at least one a task. A finished task is not run again. On a cluster,
exchange the executor for datatrove's SlurmPipelineExecutor or RayPipelineExecutor; the pipeline stays as it is.
"""

import argparse

from datatrove.executor import LocalPipelineExecutor
from transformers import AutoTokenizer

from lsw_hf import ChunkInterleaveConfig
from lsw_hf.data import interleave_step, read_step

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--documents", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--window-length", type=int, default=32_768)
parser.add_argument("--documents-per-window", type=int, default=8)
parser.add_argument("--tasks", type=int, default=1)
parser.add_argument("--output", required=True)
options = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(options.model)
config = ChunkInterleaveConfig(
    window_length=options.window_length,
    documents_per_window=options.documents_per_window,
    separator_id=tokenizer.eos_token_id,
)

if __name__ == "__main__":
    LocalPipelineExecutor(
        pipeline=[read_step(options.documents), interleave_step(tokenizer, config, options.output)],
        tasks=options.tasks,
        workers=1,
        logging_dir=f"{options.output}_logs",
    ).run()
