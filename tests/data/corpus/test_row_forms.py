"""Rows as people have them, in files as people have them: each gives the row that is expected, or is named."""

import gzip
import json

import pyarrow as pa
import pytest
from datasets import Dataset

from lsw_hf.data.corpus.documents import load_documents
from lsw_hf.data.corpus.instructions import as_instructions, load_instructions

USER, END = {"role": "user", "content": "where ?"}, {"role": "assistant", "content": "in the box ."}
SYSTEM = {"role": "system", "content": "be short"}
CHAT = {"messages": [USER, END]}
PARTS = [{"type": "text", "text": "where"}, {"type": "text", "text": " ?"}]


def turns(speaker="from", said="value", names=("human", "gpt")):
    return [{speaker: name, said: message["content"]} for name, message in zip(names, (USER, END), strict=True)]


FORMS = {
    "ShareGPT": ({"conversations": turns(), "id": "7"}, CHAT),
    "ShareGPT, roles": ({"conversations": turns(names=("user", "assistant"))}, CHAT),
    "ShareGPT, models": ({"conversations": turns(names=("Human", "ChatGPT"))}, CHAT),
    "ShareGPT, role and content": ({"conversations": CHAT["messages"]}, CHAT),
    "ShareGPT, speakers and text": ({"dialogue": turns("speaker", "text", ("prompter", "bot"))}, CHAT),
    "ShareGPT, one conversation": ({"conversation": turns()}, CHAT),
    "ShareGPT, a system beside": ({"conversations": turns(), "system": "be short"}, {"messages": [SYSTEM, USER, END]}),
    "ShareGPT, an empty system": ({"conversations": turns(), "system": ""}, CHAT),
    "ShareGPT, a system inside": (
        {"conversations": [{"from": "system", "value": "be short"}, *turns()]},
        {"messages": [SYSTEM, USER, END]},
    ),
    "ShareGPT, a tool": (
        {"conversations": [turns()[0], {"from": "observation", "value": "7"}, turns()[1]]},
        {"messages": [USER, {"role": "tool", "content": "7"}, END]},
    ),
    "ShareGPT, nulls of a table": ({"conversations": [{**turn, "weight": None} for turn in turns()]}, CHAT),
    "Alpaca": (
        {"instruction": "where ?", "input": "", "output": "in the box ."},
        {"prompt": [USER], "completion": [END]},
    ),
    "Alpaca, an input": (
        {"instruction": "where", "input": "?", "output": "in the box .", "text": "where ? in the box ."},
        {"prompt": [{"role": "user", "content": "where\n\n?"}], "completion": [END]},
    ),
    "Alpaca, no input": (
        {"instruction": "where ?", "output": "in the box ."},
        {"prompt": [USER], "completion": [END]},
    ),
    "Alpaca, a system": (
        {"instruction": "where ?", "input": None, "output": "in the box .", "system": "be short"},
        {"prompt": [SYSTEM, USER], "completion": [END]},
    ),
    "Alpaca, a history": (
        {"instruction": "where ?", "output": "in the box .", "history": [["how ?", "so"]]},
        {
            "prompt": [{"role": "user", "content": "how ?"}, {"role": "assistant", "content": "so"}, USER],
            "completion": [END],
        },
    ),
    "a system beside messages": ({**CHAT, "system": "be short"}, {"messages": [SYSTEM, USER, END]}),
    "a system beside a prompt": (
        {"prompt": [USER], "completion": [END], "system": "be short"},
        {"prompt": [SYSTEM, USER], "completion": [END]},
    ),
    "empty tools": ({**CHAT, "tools": ""}, CHAT),
    "null tools": ({**CHAT, "tools": "null"}, CHAT),
    "OpenAI, parts": (
        {"messages": [{**USER, "content": PARTS}, {**END, "content": PARTS[:1]}]},
        {"messages": [USER, {**END, "content": "where"}]},
    ),
    "OpenAI, parts of a prompt": (
        {
            "prompt": [{**USER, "content": PARTS}],
            "completion": [{**END, "content": [{"type": "text", "text": "in the box ."}]}],
        },
        {"prompt": [USER], "completion": [END]},
    ),
    "messages beside conversations": ({**CHAT, "conversations": turns(names=("x", "y"))}, CHAT),
    "a prompt and completion beside an instruction": (
        {"prompt": "a", "completion": "b", "instruction": "c", "output": "d"},
        {"prompt": "a", "completion": "b"},
    ),
}


def write(folder, row, kind):
    """Two rows in a file of this kind."""
    file = folder / f"rows{kind}"
    lines = "".join(json.dumps(item) + "\n" for item in [row, row])
    if kind == ".parquet":
        Dataset.from_list([row, row]).to_parquet(file)
    elif kind == ".jsonl.gz":
        file.write_bytes(gzip.compress(lines.encode()))
    elif kind == ".jsonl.zst":
        file.write_bytes(pa.compress(lines.encode(), codec="zstd", asbytes=True))
    elif kind == ".json.gz":
        file.write_bytes(gzip.compress(json.dumps([row, row], indent=1).encode()))
    elif kind == ".json":
        file.write_text(json.dumps({"version": 1, "data": [row, row]}), encoding="utf-8")
    elif kind == ".JSON":
        file.write_text(json.dumps([row, row]), encoding="utf-8-sig")
    else:  # JSON lines, whatever they are called
        file = folder / f"rows{kind.removesuffix(' lines')}"
        file.write_text(lines, encoding="utf-8")
    return file


KINDS = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst", ".json", ".JSON", ".json.gz", ".json lines", ".parquet")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_a_trained_one(tmp_path, caplog, form):
    row, expected = FORMS[form]
    file = write(tmp_path, row, ".jsonl")
    assert load_instructions(file).to_list() == [expected] * 2
    assert list(load_instructions(file, streaming=True)) == [expected] * 2
    caplog.clear()
    assert as_instructions([row, row]).to_list() == [expected] * 2
    assert list(as_instructions(Dataset.from_list([row, row]))) == [expected] * 2
    name = form.partition(",")[0]
    assert (
        name not in ("ShareGPT", "Alpaca", "OpenAI") or f"Read as {name} rows, from dataset row 1 on." in caplog.text
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_read(tmp_path, kind):
    row, expected = FORMS["ShareGPT"]
    assert load_instructions(write(tmp_path, row, kind)).to_list() == [expected] * 2
    text = write(tmp_path, {"text": "the lamp", "n": 1}, kind)
    assert [row["text"] for row in load_documents(text)] == ["the lamp"] * 2
    assert [row["text"] for row in load_documents(tmp_path)] == ["the lamp"] * 2


def test_a_single_object_is_a_row(tmp_path):
    file = tmp_path / "one.json"
    file.write_text(json.dumps(CHAT, indent=1), encoding="utf-8")
    assert load_instructions(file).to_list() == [CHAT]


def test_settings_in_a_folder_are_no_rows_and_that_is_said(tmp_path, caplog):
    write(tmp_path, CHAT, ".jsonl")
    (tmp_path / "dataset_infos.json").write_text("{}", encoding="utf-8")
    assert len(load_instructions(tmp_path)) == 2
    assert "Left out: 1 .json files in" in caplog.text


@pytest.mark.parametrize("source", ["parquet", "dataset", "saved", "stream"])
def test_tables_do_not_give_calls_the_arguments_of_others(tmp_path, source):
    """Structs of Arrow have the keys of all rows; what is null there was never written."""

    def call(**arguments):
        function = {"name": "move", "arguments": arguments}
        return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}

    rows = [{"messages": [USER, call(x=1), END]}, {"messages": [USER, call(text="a"), END]}]
    table = Dataset(pa.Table.from_pylist(rows))
    assert table[0]["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"x": 1, "text": None}
    if source == "parquet":
        table.to_parquet(tmp_path / "rows.parquet")
        given = tmp_path / "rows.parquet"
    elif source == "saved":
        table.save_to_disk(tmp_path / "saved")
        given = tmp_path / "saved"
    else:
        given = table if source == "dataset" else table.to_iterable_dataset()
    assert list(load_instructions(given)) == rows
    if source in ("dataset", "stream"):
        assert list(as_instructions(given)) == rows
        assert as_instructions(loaded := load_instructions(given)) is loaded


def test_rows_of_a_recipe_are_all_checked():
    bad = {"messages": [USER]}
    with_more = Dataset.from_list([{**CHAT, "id": 1}, {**bad, "id": 2}])
    for rows in ([CHAT, bad], Dataset.from_list([CHAT, bad]), with_more):
        with pytest.raises(ValueError, match=r"row [12]: 'messages' ends with the role 'user'"):
            as_instructions(rows)
    with pytest.raises(ValueError, match="row 1 has the form prompt-completion, but row 0 has the form messages"):
        as_instructions([CHAT, {"prompt": "a", "completion": "b"}])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"conversations": turns(names=("human", "narrator"))},
            "turn 1 of 'conversations' is said by 'narrator'. Known",
        ),
        ({"conversations": turns()[:1]}, "'messages' ends with the role 'user'"),
        ({"conversations": []}, "'messages' is an empty list"),
        ({"conversations": ["hello"]}, "message 0 of 'messages' is str"),
        ({"conversations": [{"from": "human"}]}, "turn 0 of 'conversations' has ['from'], but it must have one of"),
        (
            {"conversations": [turns()[0], {"from": "gpt", "value": ""}]},
            "message 1 of 'messages', the assistant's, is empty",
        ),
        ({"instruction": "a", "output": " "}, "message 0 of 'completion', the assistant's, is empty"),
        ({"instruction": " ", "input": "", "output": "b"}, "'instruction' and 'input' are empty"),
        ({"instruction": "a", "input": ["b"], "output": "c"}, "'input' is list, but it must be a string"),
        ({"instruction": "a", "output": "c", "history": ["b"]}, "'history' must be a list of pairs"),
        ({"messages": [USER, {**END, "train": False}]}, "message 1 of 'messages' has the train False, which would be"),
        ({"messages": [USER, {**END, "loss": 0}]}, "message 1 of 'messages' has the loss 0, which would be"),
        ({"instruction": "a"}, "neither form. A row has either"),
        (
            {"messages": [{**USER, "content": [{"type": "image_url"}]}, END]},
            "has a part of type 'image_url', but only text",
        ),
        ({"messages": [{**USER, "content": [7]}, END]}, "has a part of type 'int', but only text"),
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path, row, message):
    with pytest.raises((ValueError, TypeError)) as error:
        load_instructions(write(tmp_path, row, ".jsonl"))
    assert "rows.jsonl, line 1" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'[{"text": "a"}, 3]', "a.json, item 1: a JSON int, but each must be an object"),
        ("a.json", b"3", "a.json: a JSON int, but it must be a list of objects"),
        ("a.json", b'[{"a": 1},', "a.json, line 1: not valid JSON at column"),
        ("a.json", b"[]", "a.json contains no rows"),
        ("a.json", b'{"train": [{"text": "a"}], "test": [{"text": "b"}]}', "has several lists of rows: train, test."),
        ("a.json", b"1" * 5_000, "a.json: cannot be read (Exceeds the limit"),
        ("a.jsonl", b'{"text": ' + b"1" * 5_000 + b"}", "a.jsonl, line 1: cannot be read (Exceeds the limit"),
        ("a.jsonl.zst", b"no zst at all", "a.jsonl.zst, after line 0: the zst file is damaged"),
        ("a.jsonl.gz", b"no gzip at all", "a.jsonl.gz, after line 0: the gzip file is damaged"),
        ("a.ndjson", b'{"a": 1}\n[1]\n', "a.ndjson, line 1: no column 'text'"),
        ("a.csv", b"text\n", "a.csv ends in '.csv'. Files that can be read end in"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        list(load_documents(tmp_path / name))
    assert message in str(error.value)
