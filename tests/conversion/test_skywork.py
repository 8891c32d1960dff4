"""Legacy Skywork folders become Llama or LongSkywork checkpoints with the same numbers, or are refused."""

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from lsw_hf.cli import main
from lsw_hf.conversion.skywork import REPORT_NAME, convert_checkpoint
from lsw_hf.conversion.skywork_tokenizer import CHAT_TOKENS, PROBE_TEXTS
from lsw_hf.models import LongSkyworkForCausalLM
from tests.conversion import skywork_folders
from tests.conversion.skywork_folders import PIECES, SIZES, make_skywork_folder

IDS = [1, 40, 301, 77, 5, 260, 418, 9, 33, 33, 12]


def legacy_logits(state: dict[str, torch.Tensor], ids: list[int], base: float, stretch: float = 1.0) -> torch.Tensor:
    """What the legacy network computes, in float64: plain multi-head attention, one token at a time."""
    w = {name: tensor.double() for name, tensor in state.items()}
    heads, hidden = SIZES["num_attention_heads"], SIZES["hidden_size"]
    size = hidden // heads
    turns = torch.tensor([base ** (-2 * i / size) / stretch for i in range(size // 2)], dtype=torch.float64)
    spin = torch.polar(torch.ones(len(ids), 1, size // 2).double(), torch.arange(len(ids))[:, None, None] * turns)

    def norm(x, weight):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[weight]

    x = w["model.embed_tokens.weight"][ids]
    for layer in range(SIZES["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        h = norm(x, at + "input_layernorm.weight")
        q, k = (
            torch.complex(*(h @ w[f"{at}self_attn.{n}_proj.weight"].T).view(len(ids), heads, 2, -1).unbind(2)) * spin
            for n in "qk"
        )
        v = (h @ w[at + "self_attn.v_proj.weight"].T).view(len(ids), heads, size)
        scores = torch.einsum("thd,shd->hts", q.conj(), k).real / math.sqrt(size)
        scores = scores.masked_fill(torch.ones_like(scores[0]).triu(1).bool(), -torch.inf)
        mixed = torch.einsum("hts,shd->thd", scores.softmax(-1), v).reshape(len(ids), hidden)
        x = x + mixed @ w[at + "self_attn.o_proj.weight"].T
        h = norm(x, at + "post_attention_layernorm.weight")
        gate = h @ w[at + "mlp.gate_proj.weight"].T
        x = x + (gate * gate.sigmoid() * (h @ w[at + "mlp.up_proj.weight"].T)) @ w[at + "mlp.down_proj.weight"].T
    return norm(x, "model.norm.weight") @ w["lm_head.weight"].T


ROPES = {
    "none": (None, 10_000.0, 1.0),
    "ntk": ({"type": "ntk", "factor": 4.0}, 40_000.0, 1.0),
    "linear": ({"type": "linear", "factor": 2.5}, 10_000.0, 2.5),
}


@pytest.mark.parametrize("pickled", [True, False], ids=["bin", "safetensors"])
@pytest.mark.parametrize("to", ["llama", "longskywork"])
@pytest.mark.parametrize("rope", ROPES)
def test_the_result_computes_what_the_legacy_network_did(tmp_path, rope, to, pickled):
    scaling, base, stretch = ROPES[rope]
    state = make_skywork_folder(
        tmp_path / "old", rope_scaling=scaling, pickled=pickled, dtype=torch.float32, inv_freq_base=base
    )
    convert_checkpoint(tmp_path / "old", tmp_path / "new", to=to, allow_pickle=pickled)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert type(model) is {"llama": LlamaForCausalLM, "longskywork": LongSkyworkForCausalLM}[to]
    truth = legacy_logits(state, IDS, base, stretch)
    with torch.no_grad():
        got = model(torch.tensor([IDS])).logits[0, :, :PIECES].double()
    assert (got - truth).abs().max() / truth.abs().max() < 1e-5


@pytest.mark.parametrize("to", ["llama", "longskywork"])
def test_the_config_says_the_same_to_old_and_new_readers(tmp_path, to):
    make_skywork_folder(tmp_path / "old", rope_scaling={"type": "linear", "factor": 2.5})
    convert_checkpoint(tmp_path / "old", tmp_path / "new", to=to, allow_pickle=True)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["rope_parameters"] == {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.5}
    assert config["rope_theta"] == 10_000.0
    assert config["rope_scaling"]["factor"] == 2.5
    assert config["rms_norm_eps"] == 1e-6
    assert config["initializer_range"] == 0.01
    assert config["dtype"] == "bfloat16"
    assert (config.get("auto_map") is not None) == (to == "longskywork")


def test_weights_are_copied_to_the_bit_and_the_report_proves_it(tmp_path):
    state = make_skywork_folder(tmp_path / "old")
    report = convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True, shard_bytes=9_000)
    index = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert {tensor.name for tensor in report.tensors} == {name for name in state if "inv_freq" not in name}
    assert report.dropped == [name for name in state if "inv_freq" in name]
    for tensor in report.tensors:
        with safe_open(tmp_path / "new" / index["weight_map"][tensor.name], framework="pt") as file:
            written = file.get_tensor(tensor.name)
        old = state[tensor.name]
        assert torch.equal(written[: len(old)], old)
        content = written.view(torch.uint8).numpy().tobytes()
        assert tensor.sha256 == hashlib.sha256(content).hexdigest()
        assert (tensor.shape, tensor.dtype) == (tuple(written.shape), "bfloat16")
        by_token = tensor.name in ("model.embed_tokens.weight", "lm_head.weight")
        assert tensor.change == ("3 mean rows added" if by_token else "")
        if by_token:
            mean = old.float().mean(0).to(torch.bfloat16)
            assert torch.equal(written[PIECES:], mean.expand(3, -1))
    assert json.loads((tmp_path / "new" / REPORT_NAME).read_text())["tensors"][0]["sha256"]


def test_spare_rows_are_used_for_the_chat_tokens(tmp_path):
    make_skywork_folder(tmp_path / "old", vocab_size=PIECES + 17)
    report = convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    assert not any(tensor.change for tensor in report.tensors)
    assert any("14 rows still spare" in change for change in report.changes)
    assert json.loads((tmp_path / "new" / "config.json").read_text())["vocab_size"] == PIECES + 17


def test_tensors_that_share_memory_in_a_pickle_are_written_apart(tmp_path):
    state = make_skywork_folder(tmp_path / "old", vocab_size=PIECES + 17, shards=1)
    embeddings = state["model.embed_tokens.weight"]
    state["lm_head.weight"] = embeddings
    torch.save(state, tmp_path / "old" / "pytorch_model.bin")
    convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "new")
    assert torch.equal(model.lm_head.weight, embeddings)
    assert torch.equal(model.model.embed_tokens.weight, embeddings)


def test_a_cast_is_done_and_told(tmp_path):
    state = make_skywork_folder(tmp_path / "old", dtype=torch.float32)
    report = convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in report.tensors} == {"bfloat16"}
    assert all("cast from float32" in tensor.change for tensor in report.tensors)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "new")
    assert torch.equal(model.model.norm.weight, state["model.norm.weight"].to(torch.bfloat16))


def test_the_tokenizer_is_sentencepiece_with_the_published_chat_format(tmp_path):
    make_skywork_folder(tmp_path / "old")
    convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "new")
    pieces = skywork_folders.sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "old/tokenizer.model"))
    for text in PROBE_TEXTS:
        assert tokenizer(text).input_ids == [1, *pieces.encode(text)]
        # a literal ▁ is SentencePiece's own space mark and comes back as a space
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text.replace("▁", " ")
    assert tokenizer.convert_tokens_to_ids(list(CHAT_TOKENS)) == [PIECES, PIECES + 1, PIECES + 2]
    question = " 天工 is\r what? "
    chat = tokenizer.apply_chat_template([{"role": "user", "content": question}])["input_ids"]
    # as the published demo builds it: eos, bos, then the parts, each encoded alone
    assert chat == [2, 1, PIECES, *pieces.encode("天工 is what?"), PIECES + 2, PIECES + 1]
    assert (tmp_path / "new" / "tokenizer.model").read_bytes() == (tmp_path / "old" / "tokenizer.model").read_bytes()
    assert json.loads((tmp_path / "new/tokenizer_config.json").read_text())["tokenizer_class"] == (
        "PreTrainedTokenizerFast"
    )


def test_the_chat_format_marks_the_answers_for_training(tmp_path):
    make_skywork_folder(tmp_path / "old")
    convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "new")
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "the dog"}]
    both = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    answer = [i for i, keep in zip(both["input_ids"], both["assistant_masks"], strict=True) if keep]
    assert tokenizer.decode(answer) == "the dog[SEP]</s>"
    with pytest.raises(Exception, match="roles user and assistant, got system"):
        tokenizer.apply_chat_template([{"role": "system", "content": "x"}])


def test_generation_settings_are_kept_and_the_result_generates(tmp_path):
    make_skywork_folder(tmp_path / "old")
    settings = tmp_path / "old" / "generation_config.json"
    settings.write_text(json.dumps({"top_p": 0.8, "top_k": 5, "max_length": 4096, "eos_token_id": 2}))
    convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "new")
    assert (model.generation_config.top_p, model.generation_config.top_k) == (0.8, 5)
    assert model.generation_config.do_sample
    assert model.generation_config.eos_token_id == 2
    ids = torch.tensor([IDS])
    assert model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3).shape[1] > len(IDS)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"do_sample": False, "temperature": 0.7}, {}),
        ({"temperature": 0.0}, {}),
        ({"temperature": None, "top_k": 5}, {"top_k": 5, "do_sample": True}),
        ({"do_sample": True}, {"do_sample": True}),
        ({"max_length": 4096}, {}),
    ],
)
def test_greedy_generation_stays_greedy(tmp_path, given, kept):
    make_skywork_folder(tmp_path / "old")
    (tmp_path / "old" / "generation_config.json").write_text(json.dumps(given))
    convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    written = json.loads((tmp_path / "new" / "generation_config.json").read_text())
    assert {key: written[key] for key in ("do_sample", "temperature", "top_k", "top_p") if key in written} == kept


def test_the_target_may_be_a_link(tmp_path):
    make_skywork_folder(tmp_path / "old")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    convert_checkpoint(tmp_path / "old", tmp_path / "link", allow_pickle=True)
    assert (tmp_path / "empty" / "config.json").is_file()


@pytest.mark.parametrize("to", ["llama", "longskywork"])
def test_chosen_rope_parameters_win_over_stored_frequencies(tmp_path, to):
    state = make_skywork_folder(tmp_path / "old", dtype=torch.float32)  # it stores those of base 10,000
    chosen = {"type": "ntk", "factor": 4.0}
    convert_checkpoint(tmp_path / "old", tmp_path / "new", to=to, allow_pickle=True, rope_parameters=chosen)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    with torch.no_grad():
        got = model(torch.tensor([IDS])).logits[0, :, :PIECES].double()
    truth = legacy_logits(state, IDS, 40_000.0)
    assert (got - truth).abs().max() / truth.abs().max() < 1e-5


def test_the_report_shows_no_control_characters(tmp_path):
    make_skywork_folder(tmp_path / "old", **{"\x1b[2J<script>": "\x1b[31m"})
    report = convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    told = " ".join(report.changes)
    assert "'\\x1b[2J<script>'='\\x1b[31m'" in told
    assert told.isprintable()


def test_dynamic_is_kept_for_llama_and_refused_for_longskywork(tmp_path):
    make_skywork_folder(tmp_path / "old", rope_scaling={"type": "dynamic", "factor": 2.0})
    with pytest.raises(ValueError, match=r'Convert to "llama", or pass rope_parameters, for example'):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", to="longskywork", allow_pickle=True)
    report = convert_checkpoint(tmp_path / "old", tmp_path / "new", allow_pickle=True)
    assert any("llama.cpp silently drops it" in change for change in report.changes)
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 64}
    convert_checkpoint(tmp_path / "old", tmp_path / "o", to="longskywork", allow_pickle=True, rope_parameters=yarn)
    assert json.loads((tmp_path / "o" / "config.json").read_text())["rope_parameters"] == yarn


@pytest.mark.slow
def test_our_result_carries_its_code(tmp_path):
    make_skywork_folder(tmp_path / "old")
    convert_checkpoint(tmp_path / "old", tmp_path / "new", to="longskywork", allow_pickle=True)
    script = (
        "import sys; sys.modules['lsw_hf'] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(tmp_path / 'new')!r}, trust_remote_code=True)\n"
        "print(type(model).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.strip() == "LongSkyworkForCausalLM", done.stderr


def test_the_command_says_what_it_did(tmp_path, capsys):
    make_skywork_folder(tmp_path / "old", rope_scaling={"type": "ntk", "factor": 2}, inv_freq_base=None)
    assert main(["convert", str(tmp_path / "old"), str(tmp_path / "new"), "--allow-pickle"]) == 0
    told = capsys.readouterr().out
    assert "21 tensors written, 2 of them changed" in told
    assert "rope type ntk with factor 2 is now plain RoPE with base 10000.0 * 2 = 20000.0" in told
    assert f"equals SentencePiece on {len(PROBE_TEXTS)} probe texts" in told


@pytest.mark.slow
def test_memory_does_not_grow_with_the_checkpoint(tmp_path):
    """Anonymous memory is what counts: pages of the mapped source can be dropped at any time."""
    code = f"""
import sys, threading, time
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parents[2])!r}]
from tests.conversion import skywork_folders as folders
import torch
from lsw_hf.conversion.skywork import convert_checkpoint

def anonymous():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) // 1024

if sys.argv[1] == "make":
    folders.SIZES = dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=18, num_attention_heads=16)
    folders.make_skywork_folder(Path("old"), dtype=torch.bfloat16, inv_freq_base=None)
    sys.exit()
before, most, done = anonymous(), 0, False
def watch():
    global most
    while not done:
        most = max(most, anonymous())
        time.sleep(0.005)
watcher = threading.Thread(target=watch)
watcher.start()
convert_checkpoint("old", "new", allow_pickle=True, shard_bytes=64_000_000)
done = True
watcher.join()
print(most - before)
"""
    for step in ("make", "convert"):
        done = subprocess.run(
            [sys.executable, "-c", code, step], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
    size = sum(path.stat().st_size for path in (tmp_path / "new").glob("*.safetensors")) / 2**20
    print(f"{size:.0f} MiB converted in {int(done.stdout)} MiB")
    assert size > 1600
    assert int(done.stdout) < 400
