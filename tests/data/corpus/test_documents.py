"""Documents from every kind of source, in constant memory, and one test for each message."""

import gzip
import json
import tracemalloc

import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from lsw_hf.data.corpus.documents import load_documents


def texts(source, **options):
    return [row["text"] for row in load_documents(source, **options)]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def write_jsonl(path, *rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path, **columns):
    Dataset.from_dict(columns).to_parquet(path)
    return path


def test_text_file_is_one_document(tmp_path):
    path = write(tmp_path / "a.txt", "first line\n\nsecond, after a blank one\nthird without an end")
    assert texts(path) == ["first line\n\nsecond, after a blank one\nthird without an end"]


def test_text_file_is_read_as_people_wrote_it(tmp_path):
    # A byte order mark and Windows line ends are traces of an editor, not text; other characters stay.
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo \xc3\xa9\xe4\xb8\xad\r\nlone\rhere")
    assert texts(path) == ["one\ntwo \u00e9\u4e2d\nlone\rhere"]


@pytest.mark.parametrize(
    ("separator", "expected"),
    [
        (None, ["a\n\n<end>\nb <end>\n<end>\n\n<end>\nc"]),
        ("<end>", ["a\n\n", "b <end>\n", "c"]),
        ("", ["a\n", "<end>\nb <end>\n<end>\n", "<end>\nc"]),
    ],
)
def test_separator_stands_alone_on_its_line(tmp_path, separator, expected):
    path = write(tmp_path / "a.txt", "a\n\n<end>\nb <end>\n<end>\n\n<end>\nc")
    assert texts(path, document_separator=separator) == expected


def test_jsonl_rows(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", {"text": "one", "id": 1}, {"id": 2, "text": "two\nlines"})
    assert texts(path) == ["one", "two\nlines"]


def test_blank_lines_and_blank_texts_are_passed_over(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "one"}\n\n  \n{"text": " \\n"}\n{"text": "two"}')
    assert texts(path) == ["one", "two"]


def test_other_text_column(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", {"text": "no", "body": "yes"})
    assert list(load_documents(path, text_column="body")) == [{"text": "yes"}]


def test_parquet_rows(tmp_path):
    rows = [f"document {index}" for index in range(601)]  # more than two batches
    assert texts(write_parquet(tmp_path / "a.parquet", text=rows, other=list(range(601)))) == rows


def test_compressed_files(tmp_path):
    write(tmp_path / "a.txt.gz", gzip.compress(b"packed text"))
    write(tmp_path / "b.jsonl.gz", gzip.compress(b'{"text": "packed row"}\n'))
    assert texts(tmp_path) == ["packed text", "packed row"]


def test_folder_is_read_in_sorted_order_without_hidden_and_other_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".cache").mkdir()
    write(tmp_path / "b.txt", "b")
    write(tmp_path / "sub" / "a.txt", "sub a")
    write_jsonl(tmp_path / "a.jsonl", {"text": "a"})
    write(tmp_path / ".cache" / "x.txt", "hidden")
    write(tmp_path / "_SUCCESS.txt", "hidden too")
    write(tmp_path / "README.md", "other")
    assert texts(tmp_path) == ["a", "b", "sub a"]


def test_list_keeps_its_order(tmp_path):
    second, first = write(tmp_path / "a.txt", "second"), write(tmp_path / "b.txt", "first")
    dataset = Dataset.from_dict({"text": ["third"]})
    assert texts([first, str(second), dataset]) == ["first", "second", "third"]


def test_saved_dataset_and_split(tmp_path):
    train, test = Dataset.from_dict({"text": ["train"]}), Dataset.from_dict({"text": ["test"]})
    train.save_to_disk(tmp_path / "one")
    DatasetDict(train=train, test=test).save_to_disk(tmp_path / "two")
    assert texts(tmp_path / "one") == ["train"]
    assert texts(tmp_path / "two") == ["train"]
    assert texts(tmp_path / "two", split="test") == ["test"]


@pytest.mark.parametrize("streamed", [False, True])
def test_datasets_in_memory(streamed):
    dataset = Dataset.from_dict({"text": ["a", "b"], "extra": [1, 2]})
    assert texts(dataset.to_iterable_dataset() if streamed else dataset) == ["a", "b"]


def test_hub_id_goes_to_load_dataset(monkeypatch):
    asked = []

    def load(path, **options):
        asked.append((path, options))
        return Dataset.from_dict({"text": ["from the hub"]}).to_iterable_dataset()

    monkeypatch.setattr("lsw_hf.data.corpus.sources.load_dataset", load)
    assert texts("someone/corpus", split="validation", name="en") == ["from the hub"]
    assert asked == [("someone/corpus", {"name": "en", "split": "validation", "streaming": True})]


def test_streaming_can_be_repeated_and_shards_by_file(tmp_path):
    for index in range(3):
        write(tmp_path / f"{index}.txt", str(index))
    documents = load_documents(tmp_path)
    assert isinstance(documents, IterableDataset)
    assert documents.column_names == ["text"]
    assert documents.num_shards == 3
    assert list(documents) == list(documents) == [{"text": "0"}, {"text": "1"}, {"text": "2"}]
    assert [row["text"] for row in documents.shard(num_shards=3, index=1)] == ["1"]


def test_streaming_resumes_where_it_stopped(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", *({"text": f"t{index}"} for index in range(7)))
    documents = load_documents(path)
    for index, _ in enumerate(documents):
        if index == 2:
            state = documents.state_dict()
            break
    resumed = load_documents(path)
    resumed.load_state_dict(state)
    assert [row["text"] for row in resumed] == ["t3", "t4", "t5", "t6"]


def test_without_streaming_it_is_a_dataset(tmp_path):
    documents = load_documents(write(tmp_path / "a.txt", "all"), streaming=False)
    assert isinstance(documents, Dataset)
    assert documents.to_dict() == {"text": ["all"]}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "txt"])
def test_memory_does_not_grow_with_the_corpus(tmp_path, kind):
    document = "word " * 4_000  # 20 kB
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        write_jsonl(path, *[{"text": document}] * 1_000)
    elif kind == "parquet":
        write_parquet(path, text=[f"{index} {document}" for index in range(1_000)])
    else:
        write(path, f"{document}\n<end>\n" * 1_000)
    documents = load_documents(path, document_separator="<end>")
    tracemalloc.start()
    count = sum(1 for _ in documents)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1_000
    # 20 MB of text went by; a parquet batch of 256 rows is 5 MB of it, held twice while it changes form.
    assert peak < 12_000_000 if kind == "parquet" else peak < 1_000_000


# Messages.


def test_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist \(looked from .*Check the spelling"):
        load_documents(tmp_path / "nowhere.txt")


def test_name_that_is_neither_here_nor_on_the_hub():
    with pytest.raises(FileNotFoundError, match=r"someone/corpus is no file or folder here .* it could not be read: "):
        load_documents("someone/corpus")


def test_nothing_named():
    with pytest.raises(ValueError, match="The list of sources is empty"):
        load_documents([])
    with pytest.raises(ValueError, match="A source is an empty string"):
        load_documents(" ")


@pytest.mark.parametrize("source", [3, [3], None])
def test_source_of_another_type(source):
    with pytest.raises(TypeError, match="A source is a path, a dataset id"):
        load_documents(source)


def test_empty_file_is_named(tmp_path):
    write(tmp_path / "a.txt", "text")
    write(tmp_path / "b.txt", "")
    with pytest.raises(ValueError, match=r"b\.txt is empty \(0 bytes\)"):
        load_documents(tmp_path)


def test_file_of_another_kind(tmp_path):
    path = write(tmp_path / "a.pdf", "x")
    with pytest.raises(
        ValueError, match=r"a\.pdf ends in '\.pdf'\. Files that can be read end in \.txt, \.jsonl, \.json, \.parquet"
    ):
        load_documents(path)


def test_folder_without_readable_files(tmp_path):
    write(tmp_path / "a.pdf", "x")
    with pytest.raises(
        ValueError, match=r"has no file that ends in \.txt or \.jsonl or \.json or \.parquet\. It contains: \.pdf\."
    ):
        load_documents(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"It contains: nothing\."):
        load_documents(tmp_path / "empty")


def test_undecodable_line_is_named(tmp_path):
    path = write(tmp_path / "a.txt", b"fine\nfine too\nbr\xe9ak\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 3: byte 0xe9 at position 2 of the line is not UTF-8"):
        load_documents(path)


def test_damaged_gzip(tmp_path):
    path = write(tmp_path / "a.txt.gz", gzip.compress(b"text " * 1_000)[:-9])
    with pytest.raises(ValueError, match=r"a\.txt\.gz, after line 0: the gzip file is damaged"):
        load_documents(path)


def test_invalid_json_line_is_named_when_it_is_reached(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "fine"}\n\n{"text": "cut')
    documents = load_documents(path)
    with pytest.raises(ValueError, match=r"a\.jsonl, line 3: not valid JSON at column 10 \(Unterminated string"):
        list(documents)
    with pytest.raises(ValueError, match="line 3"):
        load_documents(path, streaming=False)


def test_json_line_that_is_no_object(tmp_path):
    path = write(tmp_path / "a.jsonl", '["text"]\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: a JSON list, but each line must be a JSON object"):
        load_documents(path)


def test_missing_column_names_those_that_are_there(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", {"content": "x", "id": 1})
    with pytest.raises(
        ValueError, match=r"a\.jsonl, line 1: no column 'text'\. The row has: 'content', 'id'\..*text_column"
    ):
        load_documents(path)
    path = write_parquet(tmp_path / "a.parquet", content=["x"], id=[1])
    with pytest.raises(ValueError, match=r"a\.parquet, row 1: no column 'text'\. The row has: 'content', 'id'\."):
        load_documents(path)
    with pytest.raises(ValueError, match=r"dataset row 1: no column 'text'\. The row has: 'content'\."):
        load_documents(Dataset.from_dict({"content": ["x"]}))


@pytest.mark.parametrize(("value", "kind"), [(7, "int"), (None, "null"), (["x"], "list")])
def test_text_that_is_no_string(tmp_path, value, kind):
    path = write_jsonl(tmp_path / "a.jsonl", {"text": value})
    with pytest.raises(
        TypeError, match=rf"a\.jsonl, line 1: column 'text' is {kind}, but a document must be a string"
    ):
        load_documents(path)


def test_half_surrogate(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "ab\\ud83d"}\n')
    with pytest.raises(ValueError, match=r"line 1: character 2 of column 'text' is half of a surrogate pair"):
        load_documents(path)


def test_file_that_is_no_parquet(tmp_path):
    path = write(tmp_path / "a.parquet", "text")
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as parquet \("):
        load_documents(path)


def test_sources_without_rows_or_text(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jsonl contains no rows"):
        load_documents(write(tmp_path / "a.jsonl", "\n\n"))
    with pytest.raises(ValueError, match=r"No document with any text in .*a\.txt\. Texts of whitespace"):
        load_documents(write(tmp_path / "a.txt", " \n"))
    with pytest.raises(ValueError, match="The dataset has no rows"):
        load_documents(Dataset.from_dict({"text": []}))


def test_missing_split(tmp_path):
    DatasetDict(train=Dataset.from_dict({"text": ["x"]})).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"has no split 'test'\. It has: train\."):
        load_documents(tmp_path / "saved", split="test")


def test_separator_of_two_lines(tmp_path):
    with pytest.raises(ValueError, match=r"document_separator is one line without its end, got 'a\\n'"):
        load_documents(write(tmp_path / "a.txt", "x"), document_separator="a\n")


def repository(folder):
    """Sources, an empty file, one that is no UTF-8, and what is no text."""
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "a.py").write_text("x = 1\n")
    (folder / "package" / "old.py").write_bytes(b"# caf\xe9\n")
    (folder / "README.md").write_text("# A package\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


def test_repositories_are_read_as_they_are(tmp_path, caplog):
    """Without the unreadable file and the empty one, and saying so."""
    documents = load_documents(repository(tmp_path), text_suffixes=["py", ".MD"], unreadable="skip")
    assert [row["text"] for row in documents] == ["# A package\n", "x = 1\n"]
    assert "old.py, line 1: byte 0xe9 at position 5 of the line is not UTF-8" in caplog.text


def test_unreadable_files_stop_unless_told_otherwise(tmp_path):
    folder = repository(tmp_path)
    with pytest.raises(ValueError, match=r"__init__\.py is empty \(0 bytes\)"):
        load_documents(folder, text_suffixes=[".py"])
    (folder / "package" / "__init__.py").unlink()
    with pytest.raises(ValueError, match=r"old\.py, line 1: byte 0xe9 .* not UTF-8"):
        list(load_documents(folder, text_suffixes=[".py"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_suffixes": ".py"}, r"text_suffixes is a list of endings, got the text '\.py': write \['\.py'\]"),
        ({"text_suffixes": [".parquet"]}, r"text_suffixes contains '\.parquet', which is no ending of text files"),
        ({"text_suffixes": ["."]}, r"text_suffixes contains '\.', which is no ending of text files"),
        ({"unreadable": "ignore"}, "unreadable must be 'raise' or 'skip', got 'ignore'"),
    ],
)
def test_bad_reading_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_documents(repository(tmp_path), **options)
