"""Instruction rows in TRL's two forms, and one test for each message."""

import json
import re

import pytest
from datasets import Dataset, IterableDataset

from lsw_hf.data.corpus.instructions import as_instructions, check_instruction, load_instructions

CHAT = {"messages": [{"role": "user", "content": "where ?"}, {"role": "assistant", "content": "in the box ."}]}
PAIR = {"prompt": "where ?", "completion": " in the box ."}
CHAT_PAIR = {"prompt": CHAT["messages"][:1], "completion": CHAT["messages"][1:]}
TOOL_CHAT = {
    "messages": [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "how many ?"},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "count", "arguments": "{}"}}]},
        {"role": "tool", "content": "7"},
        {"role": "assistant", "content": "seven"},
    ]
}


@pytest.fixture
def write(tmp_path):
    def write(*rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("row", "form"),
    [
        (CHAT, "messages"),
        (TOOL_CHAT, "messages"),
        (PAIR, "prompt-completion"),
        (CHAT_PAIR, "conversational prompt-completion"),
    ],
)
def test_every_form_is_known_and_kept(write, row, form):
    assert check_instruction(row) == form
    loaded = load_instructions(write(row, row))
    assert isinstance(loaded, Dataset)
    assert len(loaded) == 2
    assert loaded[1] == row


TOOLS = [{"type": "function", "function": {"name": "move", "parameters": {"type": "object", "properties": {}}}}]


def call(name, **arguments):
    return {
        "role": "assistant",
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}],
    }


def test_rows_keep_their_own_keys_and_no_others(write):
    """In Arrow structs the first call would be trained with the arguments of all others, as nulls."""
    user, end = CHAT["messages"]
    rows = [
        {"messages": [user, call("move", x=0, y=1.5), end]},
        {
            "messages": [user, call("say", text="é 漢", loud=True, parts=[1, "a", None, {"deep": {}}]), end],
            "tools": TOOLS,
        },
        {"messages": [{**user, "name": "ann"}, {**end, "reasoning_content": "hm"}], "tools": json.dumps(TOOLS * 2)},
        {"messages": [user, end], "chat_template_kwargs": {"enable_thinking": False}},
    ]
    loaded = load_instructions(write(*rows))
    streamed = list(load_instructions(write(*rows), streaming=True))
    for number, row in enumerate(rows):
        row = {**row, "tools": TOOLS * 2} if number == 2 else row
        assert streamed[number] == row
        assert loaded[number] == {"tools": None, "chat_template_kwargs": {}, **row}
        assert as_instructions(rows)[number] == loaded[number]


@pytest.mark.parametrize(
    ("more", "left_out"),
    [
        ({"prompt": "where ?", "prompt_id": "7"}, r"\['prompt', 'prompt_id'\]. Only \['messages'\]"),
        ({"text": "where ? in the box ."}, r"\['text'\]. Only"),
        ({"completion": None, "source": "here"}, r"\['source'\]. Only"),
    ],
)
@pytest.mark.parametrize("row", [CHAT, PAIR, CHAT_PAIR])
def test_columns_that_would_be_read_otherwise_are_left_out_and_named_once(write, caplog, row, more, left_out):
    """`messages` beside `prompt` are the columns of a known data set: TRL would look for its completions."""
    more = {name: value for name, value in more.items() if name not in row}
    loaded = load_instructions(write({**row, **more}, {**row, **more}))
    assert loaded.to_list() == [row, row]
    assert len(caplog.messages) == 1
    if row is CHAT:
        assert re.search(left_out, caplog.text)
    for dataset in (Dataset.from_list([{**row, **more}]), Dataset.from_list([{**row, **more}]).to_iterable_dataset()):
        assert list(as_instructions(dataset)) == [row]
    assert as_instructions([{**row, **more}]).to_list() == [row]


def test_tokens_and_texts_are_left_as_they_are():
    for row in ({"input_ids": [1], "messages": []}, {"text": "a", "n": 1}):
        assert as_instructions(Dataset.from_list([row])).column_names == list(row)
    assert as_instructions([]) == []
    with pytest.raises(ValueError, match="row 0: both forms at once"):
        as_instructions(Dataset.from_list([{**CHAT, **PAIR}]))
    with pytest.raises(ValueError, match="row 1: 'messages' ends with the role 'user'"):
        as_instructions([CHAT, {"messages": CHAT["messages"][:1]}])


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        (
            {"messages": [call("move", x=2**64), *CHAT["messages"]]},
            ValueError,
            r"\['x'\]: 18446744073709551616 has more",
        ),
        (
            {"messages": [call("move", x=float("nan")), *CHAT["messages"]]},
            ValueError,
            r"\['x'\]: nan is no number of JSON",
        ),
        ({**PAIR, "prompt": "a\ud83d"}, ValueError, "'prompt': character 1 is half of a surrogate pair"),
        ({**CHAT, "tools": [{"\udc00": 1}]}, ValueError, r"'tools'\[0\]: a key: character 0 is half of a surrogate"),
        ({"messages": [{**m, "weight": 0} for m in CHAT["messages"]]}, ValueError, "has the weight 0, which would be"),
        ({**CHAT, "tools": "[{"}, ValueError, "'tools' is text, but no JSON"),
        ({**CHAT, "tools": {"name": "x"}}, TypeError, "'tools' is dict, but it must be a list"),
        ({**CHAT, "chat_template_kwargs": [1]}, TypeError, "'chat_template_kwargs' is list, but it must be a mapping"),
    ],
)
def test_values_that_would_change_are_named_by_line(write, row, error, message):
    for streaming in (True, False):
        with pytest.raises(error, match=rf"rows\.jsonl, line 2: .*{message}"):
            list(
                load_instructions(
                    write({"messages": CHAT["messages"]} if "messages" in row else PAIR, row), streaming=streaming
                )
            )


def test_values_of_no_json_type_are_named():
    with pytest.raises(TypeError, match=r"'chat_template_kwargs'.*: bytes is none of JSON's types"):
        as_instructions([{**CHAT, "chat_template_kwargs": {"a": b"1"}}])


def test_parquet_and_folder_and_list(tmp_path, write):
    Dataset.from_list([PAIR]).to_parquet(tmp_path / "a.parquet")
    write({**PAIR, "prompt": "second"}, name="b.jsonl")
    assert load_instructions(tmp_path)["prompt"] == ["where ?", "second"]
    assert load_instructions([tmp_path / "b.jsonl", Dataset.from_list([PAIR])])["prompt"] == ["second", "where ?"]


def test_streaming_yields_the_same_rows(write):
    path = write(PAIR, {**PAIR, "prompt": "second"})
    streamed = load_instructions(path, streaming=True)
    assert isinstance(streamed, IterableDataset)
    assert list(streamed) == load_instructions(path).to_list()


def test_streaming_checks_the_first_row_now_and_others_later(write):
    with pytest.raises(ValueError, match="line 1: neither form"):
        load_instructions(write({"text": "x"}), streaming=True)
    later = load_instructions(write(PAIR, {"prompt": "", "completion": "x"}), streaming=True)
    with pytest.raises(ValueError, match=r"line 2: 'prompt' is empty"):
        list(later)


# Messages.

USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        (
            {"question": "x", "output": "y"},
            ValueError,
            r"neither form\. A row has either 'messages' or 'prompt' and 'completion'; this one has: 'question', "
            r"'output'\. Rename or remove columns",
        ),
        ({"prompt": "x"}, ValueError, r"neither form\..*this one has: 'prompt'\."),
        ({**CHAT, **PAIR}, ValueError, r"both forms at once\."),
        ({"prompt": " ", "completion": "x"}, ValueError, r"'prompt' is empty\. Remove the row"),
        ({"prompt": "x", "completion": ""}, ValueError, r"'completion' is empty\."),
        ({"prompt": "x", "completion": [USER]}, TypeError, "must be both strings or both lists of messages"),
        ({"prompt": 3, "completion": 4}, TypeError, r"'prompt' is int, but it must be a list of messages"),
        ({"messages": None}, ValueError, r"neither form\..*this one has: 'messages' \(null\)\."),
        ({"messages": {}}, TypeError, r"'messages' is dict, but it must be a list of messages"),
        ({"messages": []}, ValueError, r"'messages' is an empty list\."),
        ({"messages": ["x"]}, TypeError, r"message 0 of 'messages' is str, but it must have 'role' and 'content'"),
        (
            {"messages": [{"from": "human", "value": "x"}]},
            ValueError,
            r"message 0 of 'messages' has the role None\. Roles are system, developer, user, assistant, tool; keys "
            r"that are there: 'from', 'value'\.",
        ),
        ({"messages": [{"role": "bot", "content": "x"}]}, ValueError, r"has the role 'bot'\. Roles are system,"),
        ({"messages": [{"role": "user"}]}, TypeError, r"message 0 of 'messages': 'content' is missing"),
        ({"messages": [{"role": "user", "content": 3}]}, TypeError, r"'content' is int, but it must be a string"),
        (
            {"messages": [USER]},
            ValueError,
            r"'messages' ends with the role 'user', so there is nothing to learn at its end\. The last message",
        ),
        ({"prompt": [USER], "completion": [USER]}, ValueError, r"'completion' ends with the role 'user'"),
    ],
)
def test_bad_row_is_named_with_its_line(write, row, error, message):
    good = (
        CHAT
        if "messages" in row and "prompt" not in row
        else CHAT_PAIR
        if isinstance(row.get("prompt"), list)
        else PAIR
    )
    with pytest.raises(error, match=rf"rows\.jsonl, line 2: (?:.*){message}"):
        load_instructions(write(good, row))


def test_forms_do_not_mix(write):
    with pytest.raises(
        ValueError, match=r"line 2 has the form messages, but .*line 1 has the form prompt-completion\."
    ):
        load_instructions(write(PAIR, CHAT))


def test_text_files_are_no_instructions(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"a\.txt ends in '\.txt'\. Files that can be read end in \.jsonl, \.json, \.parquet"
    ):
        load_instructions(path)


def test_empty_and_missing_files(tmp_path, write):
    with pytest.raises(ValueError, match=r"rows\.jsonl is empty \(0 bytes\)"):
        load_instructions(write())
    with pytest.raises(FileNotFoundError, match=r"no\.jsonl does not exist"):
        load_instructions(tmp_path / "no.jsonl")
