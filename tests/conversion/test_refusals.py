"""Folders that are damaged, incomplete, inconsistent or dangerous are refused, and nothing is left on disk."""

import hashlib
import json
from pathlib import Path

import pytest
import sentencepiece
import torch

from lsw_hf.conversion.skywork import convert_checkpoint
from lsw_hf.conversion.skywork_tokenizer import convert_tokenizer
from tests.conversion.skywork_folders import PIECES, make_skywork_folder
from tests.processes import dead_process


def edit_config(folder: Path, **fields) -> None:
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "remove"}))


def edit_index(folder: Path, edit) -> None:
    path = folder / "pytorch_model.bin.index.json"
    index = json.loads(path.read_text())
    edit(index["weight_map"])
    path.write_text(json.dumps(index))


def rewrite_shard(folder: Path, edit, name: str = "pytorch_model-00001-of-00003.bin") -> None:
    path = folder / name
    state = torch.load(path, weights_only=True)
    edit(state)
    torch.save(state, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


class Evil:
    def __reduce__(self):
        return (open, ("/nonexistent/evil", "w"))


FIRST = "model.layers.0.self_attn.rotary_emb.inv_freq"
NORM = "model.norm.weight"


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


def put(value):
    """Writes another final norm into the whole checkpoint."""
    return lambda folder: [
        rewrite_shard(folder, lambda s: s.update({NORM: value}), path.name)
        for path in folder.glob("*.bin")
        if NORM in torch.load(path, weights_only=True)
    ]


DAMAGE = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config.json is missing. Give the folder"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), r"config.json is not JSON"),
    "another type": (lambda f: edit_config(f, model_type="llama"), r"model_type 'llama'; this converts legacy"),
    "no sizes": (lambda f: edit_config(f, hidden_size="remove"), r"lacks hidden_size"),
    "head count": (lambda f: edit_config(f, num_attention_heads=5), r"not a multiple of"),
    "rope type": (
        lambda f: edit_config(f, rope_scaling={"type": "su", "factor": 2}),
        r"the types ntk, linear and dyn",
    ),
    "rope factor": (lambda f: edit_config(f, rope_scaling={"type": "ntk", "factor": 0.5}), r"factor must be a number"),
    "wrong base": (lambda f: edit_config(f, rope_theta=5e5), r"stored with other frequencies than rope_theta=500000"),
    "vocabulary": (lambda f: edit_config(f, vocab_size=PIECES - 9), r"has 420 pieces, but vocab_size is 411"),
    "rows": (
        lambda f: edit_config(f, vocab_size=PIECES + 1),
        r"weight has shape \(420, 36\), the config asks for \(421",
    ),
    "pad id": (lambda f: edit_config(f, pad_token_id=65_519), r"pad_token_id=65519 is not among the vocab_size=420"),
    "no pieces": (lambda f: (f / "tokenizer.model").unlink(), r"tokenizer.model is missing"),
    "broken pieces": (lambda f: (f / "tokenizer.model").write_bytes(b"\xff\x01"), r"is not a SentencePiece model"),
    "missing shard": (lambda f: (f / "pytorch_model-00002-of-00003.bin").unlink(), r"lacks pytorch_model-00002-of-00"),
    "cut shard": (lambda f: cut(f / "pytorch_model-00002-of-00003.bin"), r"cannot be read as a zip archive of plain"),
    "evil": (lambda f: rewrite_shard(f, lambda s: s.update(x=Evil())), r"objects that would run code"),
    "no tensor": (lambda f: rewrite_shard(f, lambda s: s.update({FIRST: 3})), r"which is a int and not a tensor"),
    "escape": (
        lambda f: edit_index(f, lambda m: m.update({FIRST: "../../etc/passwd"})),
        r"'../../etc/passwd' is not a file name inside",
    ),
    "absolute": (lambda f: edit_index(f, lambda m: m.update({FIRST: "/etc/passwd"})), r"is not a file name inside"),
    "empty index": (lambda f: edit_index(f, lambda m: m.clear()), r"weight_map must map tensors to file names"),
    "broken index": (write("pytorch_model.bin.index.json", "[]"), r"index.json contains a list and no JSON object"),
    "index without map": (write("pytorch_model.bin.index.json", "{}"), r"is not an index of weight files"),
    "end id": (lambda f: edit_config(f, eos_token_id=420), r"eos_token_id=420, but tokenizer.model has 420 pieces"),
    "other shard": (
        lambda f: rewrite_shard(f, lambda s: s.pop(FIRST)),
        r"missing model.layers.0.self_attn.rotary_emb.inv_freq, not in the index nothing",
    ),
    "empty name": (lambda f: edit_index(f, lambda m: m.update({FIRST: ""})), r"'' is not a file name inside"),
    "long name": (lambda f: edit_index(f, lambda m: m.update({FIRST: "x" * 999})), r"'xxxx.*' is not a file name"),
    "deep index": (write("pytorch_model.bin.index.json", "[" * 99_999), r"index.json is not JSON \(maximum recursion"),
    "deep config": (write("config.json", "[" * 99_999), r"config.json is not JSON \(maximum recursion"),
    "long number": (write("config.json", '{"vocab_size": %s}' % ("9" * 9_999)), r"config.json is not JSON \(Exceeds"),
    "wrong type": (lambda f: edit_config(f, vocab_size="420"), r"wrong type: .* 'vocab_size' expected int, got str"),
    "no heads": (lambda f: edit_config(f, num_attention_heads=0), r"num_attention_heads is 0; it must be at least 1"),
    "activation": (lambda f: edit_config(f, hidden_act="swoosh"), r"hidden_act='swoosh' is no activation"),
    "million layers": (
        lambda f: edit_config(f, num_hidden_layers=10**7),
        r"describes \d+,\d+,\d+,\d+ weights, but the weight files contain \d+,\d+ bytes",
    ),
    "rope text": (lambda f: edit_config(f, rope_scaling="ntk"), r"rope_scaling='ntk': legacy Skywork has the types"),
    "huge factor": (
        lambda f: edit_config(f, rope_scaling={"type": "ntk", "factor": 10**400}),
        r"factor must be a numb",
    ),
    "base": (lambda f: edit_config(f, rope_theta=-5.0), r"rope_theta=-5.0; it is the base of the frequencies"),
    "base text": (lambda f: edit_config(f, rope_theta="abc"), r"rope_theta='abc'; it is the base"),
    "two ends": (lambda f: edit_config(f, eos_token_id=[2, 3]), r"eos_token_id=\[2, 3\]; it must be one whole number"),
    "linear base": (
        lambda f: edit_config(f, rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0}),
        r"stored with other frequencies than rope_theta=500000",
    ),
    "broken generation": (write("generation_config.json", "{"), r"generation_config.json is not JSON"),
    "generation list": (write("generation_config.json", "[1]"), r"generation_config.json contains a list"),
    "hot": (write("generation_config.json", '{"temperature": "hot"}'), r"says temperature='hot'; it must be a number"),
    "share": (write("generation_config.json", '{"top_p": 7}'), r"says top_p=7; it must be a number from 0 to 1"),
    "no names": (
        lambda f: torch.save(torch.ones(3), f / "pytorch_model-00001-of-00003.bin"),
        r"contains a Tensor, and not",
    ),
    "numbered": (lambda f: rewrite_shard(f, lambda s: s.update({3: torch.ones(2)})), r"contains 3, which is a Tensor"),
    "whole numbers": (
        put(torch.ones(36, dtype=torch.int64)),
        r"model.norm.weight is of int64; weights are of float16",
    ),
    "sparse": (put(torch.ones(36).to_sparse()), r"'model.norm.weight', which is sparse, quantized or empty"),
    "meta": (put(torch.ones(36, device="meta")), r"'model.norm.weight', which is sparse, quantized or empty"),
    "no number": (put(torch.full((36,), float("nan"))), r"model.norm.weight contains NaN or infinity as float32"),
    "no weights": (
        lambda f: [p.unlink() for p in f.glob("pytorch_model*")],
        r"contains no weights: looked for model.saf",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_and_leaves_nothing(tmp_path, damage):
    make_skywork_folder(tmp_path / "old")
    spoil, message = DAMAGE[damage]
    spoil(tmp_path / "old")
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_neighbor_of_the_target_is_not_removed(tmp_path):
    make_skywork_folder(tmp_path / "old")
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "thesis.tex").write_text("x")
    convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    assert (tmp_path / "new.partial" / "thesis.tex").read_text() == "x"


def test_what_a_killed_process_left_does_not_block_the_next(tmp_path):
    make_skywork_folder(tmp_path / "old")
    leftover = tmp_path / f".new.{dead_process()}.partial"
    leftover.mkdir()
    convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_unknown_and_missing_tensors_are_refused(tmp_path):
    make_skywork_folder(tmp_path / "old", shards=1)
    path = tmp_path / "old" / "pytorch_model.bin"
    whole = torch.load(path, weights_only=True)
    torch.save(whole | {"model.layers.0.self_attn.W_pack.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"W_pack.weight is no tensor of a Skywork model"):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    del whole["model.layers.1.mlp.up_proj.weight"]
    torch.save(whole, path)
    with pytest.raises(ValueError, match=r"lacks 1 tensors, among them model.layers.1.mlp.up_proj.weight"):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)


def test_a_cut_safetensors_file_is_refused(tmp_path):
    make_skywork_folder(tmp_path / "old", pickled=False)
    cut(tmp_path / "old" / "model-00003-of-00003.safetensors")
    with pytest.raises(ValueError, match=r"model-00003-of-00003.safetensors is not a whole safetensors file"):
        convert_checkpoint(tmp_path / "old", tmp_path / "new")


def test_pickled_files_need_leave(tmp_path):
    make_skywork_folder(tmp_path / "old")
    with pytest.raises(ValueError, match=r"pickled files only \(pytorch_model.bin\).*allow_pickle=True"):
        convert_checkpoint(tmp_path / "old", tmp_path / "new")


def test_checksums_are_compared_before_anything_is_read(tmp_path):
    make_skywork_folder(tmp_path / "old", pickled=False)
    files = sorted((tmp_path / "old").glob("*.safetensors"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("\n".join(lines))
    report = convert_checkpoint(tmp_path / "old", tmp_path / "new", checksums=sums)
    assert report.checked_files == 3
    sums.write_text(lines[0].replace(lines[0][:8], "0" * 8))
    with pytest.raises(ValueError, match=r"model-00001-of-00003.safetensors has SHA-256 .* says 00000000"):
        convert_checkpoint(tmp_path / "old", tmp_path / "again", checksums=sums)
    sums.write_text("\n")
    with pytest.raises(ValueError, match=r"SHA256SUMS is empty, so nothing would be compared"):
        convert_checkpoint(tmp_path / "old", tmp_path / "again", checksums=sums)
    for unreadable in (tmp_path, tmp_path / "nowhere", tmp_path / "old" / files[0].name):
        with pytest.raises(ValueError, match=r"is no list of checksums \("):
            convert_checkpoint(tmp_path / "old", tmp_path / "again", checksums=unreadable)
    sums.write_text("md5  model.safetensors")
    with pytest.raises(ValueError, match=r"SHA256SUMS, line 1: expected a SHA-256 and a file name"):
        convert_checkpoint(tmp_path / "old", tmp_path / "again", checksums=sums)


def test_the_working_folder_is_refused_as_target(tmp_path, monkeypatch):
    make_skywork_folder(tmp_path / "old")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match=r"^\. is the working folder, which cannot be replaced\. Name a new one"):
        convert_checkpoint(tmp_path / "old", ".", allow_pickle=True)


def test_a_cast_that_overflows_is_refused(tmp_path):
    make_skywork_folder(tmp_path / "old", dtype=torch.float32)
    put(torch.full((36,), 1e6))(tmp_path / "old")
    with pytest.raises(
        ValueError, match=r"model.norm.weight contains NaN or infinity as float16: .* too large for the"
    ):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True, dtype=torch.float16)


@pytest.mark.parametrize("to", ["llama", "longskywork"])
@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"rope_type": "su", "rope_theta": 1e4}, "Unknown rope type 'su'"),
        ({"rope_type": "yarn", "rope_theta": 1e4}, "'yarn' needs factor, original_max_position_embeddings"),
        ({"rope_type": "linear", "rope_theta": 1e4, "factor": -2}, "factor=-2 in rope type 'linear'"),
    ],
)
def test_chosen_rope_parameters_are_checked_for_either_result(tmp_path, to, chosen, message):
    make_skywork_folder(tmp_path / "old")
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", to=to, allow_pickle=True, rope_parameters=chosen)


def test_wrong_arguments_are_refused(tmp_path):
    make_skywork_folder(tmp_path / "old")
    with pytest.raises(ValueError, match="to='gguf': a Skywork checkpoint converts to llama or longskywork"):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", to="gguf")
    with pytest.raises(ValueError, match="shard_bytes is 0"):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", shard_bytes=0)
    with pytest.raises(ValueError, match=r"nowhere is not a folder. Download the checkpoint first"):
        convert_checkpoint(tmp_path / "nowhere", tmp_path / "new")
    with pytest.raises(ValueError, match="old exists and is not an empty folder"):
        convert_checkpoint(tmp_path / "old", tmp_path / "old")


def test_a_tokenizer_that_reads_differently_is_refused(tmp_path, monkeypatch):
    make_skywork_folder(tmp_path / "old")
    from lsw_hf.conversion import skywork_tokenizer

    class Shifted(sentencepiece.SentencePieceProcessor):
        def encode(self, text):
            return [number + 1 for number in super().encode(text)]

    monkeypatch.setattr(skywork_tokenizer, "load_sentencepiece", lambda path: Shifted(model_file=str(path)))
    with pytest.raises(ValueError, match=r"The fast tokenizer reads 'The quick brown fox .* as .*, SentencePiece as"):
        convert_tokenizer(tmp_path / "old" / "tokenizer.model", bos_id=1, eos_id=2, pad_id=0)
