"""`lsw-hf tables`: a dataset of synthetic lengthy tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .output import CommandOutput
from .parser import CommandParser, count

HELP = "write long synthetic tables with questions, at an exact length in tokens"
EXAMPLE = "lsw-hf tables --tokenizer PATH_OR_ID --num-samples 2000 --length 2048-102400 --output tables/"
DETAILS = """Writes parquet files and a dataset card; the folder loads with datasets.load_dataset. A killed run
continues when it is started again with the same options. Nothing is downloaded but the tokenizer."""


def length_range(text: str) -> int | tuple[int, int]:
    """Parse `4096` or `2048-102400`."""
    try:
        values = [int(part) for part in text.split("-")]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise argparse.ArgumentTypeError(f"expected a number of tokens or two of them like 2048-102400, got {text!r}")
    return values[0] if len(values) == 1 else (values[0], values[1])


def names(text: str) -> tuple[str, ...]:
    """Parse names with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def main(arguments: Sequence[str]) -> int:
    """Write the dataset with the given options and return the exit status."""
    parser = CommandParser("tables", details=DETAILS, example=EXAMPLE)
    parser.add_argument("--tokenizer", required=True, help="path or Hub id of the tokenizer that counts")
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--num-samples", type=count(1), default=1000, help="rows to write (default: 1000)")
    parser.add_argument("--length", type=length_range, default=(2048, 102_400), help="tokens of a row, or from-to")
    parser.add_argument("--questions-per-table", type=length_range, default=1, help="turns of a dialogue, or from-to")
    parser.add_argument("--question-types", type=names, default=(), help="types with commas between (default: all)")
    parser.add_argument("--formats", type=names, default=(), help="formats with commas between (default: all)")
    parser.add_argument("--languages", type=names, default=("en",), help="en, zh, or both with a comma between")
    parser.add_argument("--schema", default=None, help="YAML file with the columns of every table")
    parser.add_argument("--row-format", default="messages", help="messages, prompt_completion or conversational")
    parser.add_argument("--split", default="all", help="all, train or eval; the last two share no key")
    parser.add_argument("--distractor-share", type=float, default=0.0, help="share of unrelated text (default: 0)")
    parser.add_argument("--rows-per-shard", type=count(1), default=500, help="rows of a file (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="everything drawn follows from it (default: 0)")
    parser.add_json_option()
    options = parser.parse(arguments)

    from ..context.saved_model import load_tokenizer
    from ..data.tables import FORMATS, TableConfig, TableGenerator
    from ..data.tables.dataset import write_tables
    from ..data.tables.schema_file import load_schema
    from ..progress import progress_bar

    config = TableConfig(
        length=options.length,
        question_types=options.question_types,
        questions_per_table=options.questions_per_table,
        formats=options.formats or FORMATS,
        languages=options.languages,
        schema=None if options.schema is None else load_schema(options.schema),
        split=options.split,
        row_format=options.row_format,
        distractor_share=options.distractor_share,
    )
    with CommandOutput(options.json) as output:
        generator = TableGenerator(load_tokenizer(options.tokenizer, {}), config, seed=options.seed)
        with progress_bar(options.num_samples, "tables", unit="rows") as bar:
            statistics = write_tables(
                generator,
                options.output,
                options.num_samples,
                rows_per_shard=options.rows_per_shard,
                tokenizer_name=options.tokenizer,
                progress=lambda done: bar.update(done - bar.n),
            )
        names_of_counts = ("rows", "tokens", "families", "types", "formats", "languages")
        facts = {name: getattr(statistics, name) for name in names_of_counts} | {"output": options.output}
        output.show(f"{statistics.rows} rows, {statistics.tokens} tokens: {options.output}", facts)
    return 0
