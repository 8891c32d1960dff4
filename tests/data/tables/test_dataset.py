"""Tables on disk: loadable, resumable, described; and as a stream."""

import copy
import json

import pytest
from datasets import load_dataset

from lsw_hf.data.tables import TableConfig, TableGenerator
from lsw_hf.data.tables.dataset import stream_tables, write_tables
from lsw_hf.data.tables.schema_file import load_schema

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
SCHEMA = """
language: en
key: [name]
asked: [place]
columns:
  - {name: name, kind: words, values: [one, two, three, four, five, six, seven, eight, nine, ten]}
  - {name: place, kind: words, values: [box, lamp, river, garden]}
  - {name: color, kind: words, values: [red, blue, green]}
"""


@pytest.fixture
def schema_file(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text(SCHEMA, encoding="utf-8")
    return path


@pytest.fixture
def generator(tiny_tokenizer, schema_file):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = TEMPLATE
    config = TableConfig(
        length=40,
        schema=load_schema(schema_file),
        formats=("tsv",),
        question_types=("cell",),
        templates={"cell": [("where is {key} ?", "in the {value} .")]},
        header=False,
        preamble="",
        pad_to_length=False,
    )
    return TableGenerator(tokenizer, config)


def test_folder_loads_and_the_card_describes_it(generator, tmp_path):
    seen = []
    statistics = write_tables(
        generator, tmp_path / "out", 7, rows_per_shard=3, tokenizer_name="tiny", progress=seen.append
    )
    assert seen == [3, 6, 7]
    loaded = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["index"] for row in loaded] == list(range(7))
    assert loaded[2]["messages"] == generator.sample(2)["messages"]
    assert statistics.rows == 7
    assert statistics.tokens == sum(loaded["num_tokens"])
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "7 rows, " in card
    assert "| cell | 7 |" in card
    assert "by the tokenizer `tiny`" in card
    assert loaded[0]["messages"][0]["content"][:100] in card


def test_killed_run_goes_on_and_another_run_is_refused(generator, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_tables(generator, out, 6, rows_per_shard=2)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "data").iterdir()}
    (out / "data" / "train-00001-of-00003.parquet").unlink()
    made = []
    real = generator.generate
    monkeypatch.setattr(generator, "generate", lambda count, start: made.append((count, start)) or real(count, start))
    write_tables(generator, out, 6, rows_per_shard=2)
    assert made == [(2, 2)]
    after = {path.name: path.stat().st_mtime_ns for path in (out / "data").iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["train-00001-of-00003.parquet"]
    with pytest.raises(ValueError, match=r"tables of other settings \(num_samples differ\): use another folder"):
        write_tables(generator, out, 8, rows_per_shard=2)


def test_bad_folders_and_counts(generator, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file: name a folder to write tables to"):
        write_tables(generator, tmp_path / "file", 3)
    with pytest.raises(ValueError, match="is not empty and contains no tables: use a new folder"):
        write_tables(generator, tmp_path, 3)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        write_tables(generator, tmp_path / "new", 0)


def test_stream_is_the_same_for_any_number_of_readers(generator):
    rows = list(stream_tables(generator, 9, num_shards=4))
    assert [row["index"] for row in rows] == list(range(9))
    parts = [row for index in range(2) for row in stream_tables(generator, 9, 4).shard(num_shards=2, index=index)]
    assert parts == rows
    with pytest.raises(ValueError, match="num_samples=2 rows cannot be cut into num_shards=4 parts"):
        stream_tables(generator, 2, 4)


def test_stream_resumes(generator):
    first = stream_tables(generator, 6, 2)
    reading = iter(first)
    head = [next(reading) for _ in range(4)]
    second = stream_tables(generator, 6, 2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert head + list(second) == list(stream_tables(generator, 6, 2))


def test_schema_file_is_read(schema_file):
    schema = load_schema(schema_file)
    assert [column.name for column in schema.columns] == ["name", "place", "color"]
    assert (schema.key, schema.asked) == (("name",), ("place",))
    assert schema.columns[1].values == ("box", "lamp", "river", "garden")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: [", "is no valid YAML"),
        ("- a", "the schema must be a mapping, got list"),
        ("columns: []", "lists no columns: give `columns`"),
        ("colums: []", r"the schema has unknown keys \['colums'\]; known are \['columns'"),
        ("columns: [{name: x}]", "column 1 has no kind"),
        ("columns: [{name: x, kind: money}]", "Unknown kind 'money' of column 'x'"),
        ("columns: [{name: x, kind: words, values: [yes, no]}]", "a bare yes, no, on or off as true or false: write"),
        ("columns: [{name: x, kind: words, values: red}]", "values of column 1 must be a list of words, got 'red'"),
        (
            "columns: [{name: x, kind: words, values: [a, ]}, {name: y, kind: words, values: [null]}]",
            "none of them empty",
        ),
        ("columns: [{name: x, kind: id, size: 3}]", r"column 1 has unknown keys \['size'\]"),
        ("columns: [{name: x, kind: id}]", "at least two columns"),
    ],
)
def test_bad_schema_files(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        load_schema(path)
    assert "bad.yaml" in str(error.value)


def test_missing_schema_file():
    with pytest.raises(FileNotFoundError, match=r"There is no schema file nowhere.yaml"):
        load_schema("nowhere.yaml")
