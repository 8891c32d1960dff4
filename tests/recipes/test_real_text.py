"""`lsw-hf train` on real text: the sources of Python's standard library, a tokenizer and a stock Llama trained on
them."""

import json
import sysconfig
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lsw_hf.cli import main
from lsw_hf.data.corpus.documents import load_documents
from lsw_hf.demo.model import initialize_for_induction
from lsw_hf.training.continual_pretraining import ContinualPretrainingConfig, ContinualPretrainingTrainer

WINDOW, TARGET = 256, 2_048


def write_corpus(folder):
    """Modules of the standard library as text files, every eighth kept for evaluation."""
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    kept = []
    for index, source in enumerate(sources[:160]):
        text = source.read_text(encoding="utf-8", errors="ignore")
        if index % 8 == 0:
            kept.append(text)
        elif text.strip():
            (folder / f"{source.stem}.txt").write_text(text, encoding="utf-8")
    return kept


def train_tokenizer(folder):
    from tokenizers import ByteLevelBPETokenizer

    backend = ByteLevelBPETokenizer()
    backend.train([str(path) for path in sorted(folder.glob("*.txt"))], vocab_size=800, special_tokens=["</s>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend._tokenizer, eos_token="</s>", pad_token="</s>", model_max_length=WINDOW
    )


def train_base(tokenizer, folder, output):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=WINDOW, tie_word_embeddings=True, initializer_range=0.05,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    # From this start a model learns within a minute to copy from its context, as code repeats its names; without that
    # its loss hardly depends on what lies far back, and nothing could be lost or won there.
    model = initialize_for_induction(LlamaForCausalLM(config), seed=0)
    args = ContinualPretrainingConfig(
        str(output / "trainer"), max_length=WINDOW, max_steps=120, per_device_train_batch_size=16, learning_rate=2e-3,
        documents_per_window=1, chunks_per_document=1, lr_scheduler_type="cosine", warmup_steps=10, bf16=False,
        report_to="none", save_strategy="no", logging_steps=50, dataloader_pin_memory=False, disable_tqdm=True,
    )  # fmt: skip
    ContinualPretrainingTrainer(model, args, load_documents(str(folder)), tokenizer).train()
    model.save_pretrained(output / "base")
    tokenizer.save_pretrained(output / "base")
    return model


@torch.no_grad()
def loss_beyond_the_window(model, tokenizer, texts):
    """Mean next-token loss at positions of 256 and more, in windows of 2,048 tokens that no training saw."""
    total, count = 0.0, 0
    model.eval()
    for text in texts:
        ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
        for window in ids.split(TARGET)[:2]:
            if len(window) == TARGET:
                logits = model(window[None], attention_mask=torch.ones(1, TARGET, dtype=torch.long)).logits[0].float()
                losses = torch.nn.functional.cross_entropy(logits[:-1], window[1:], reduction="none")
                total, count = total + float(losses[WINDOW:].sum()), count + len(losses[WINDOW:])
    assert count > 10_000
    return total / count


@pytest.mark.slow
def test_extension_lowers_the_loss_beyond_the_window(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    texts = write_corpus(corpus)
    tokenizer = train_tokenizer(corpus)
    base = train_base(tokenizer, corpus, tmp_path)
    before = loss_beyond_the_window(base, tokenizer, texts)
    words = [
        "--model", str(tmp_path / "base"), "--documents", str(corpus), "--output-dir", str(tmp_path / "run"),
        "--context-length", str(TARGET), "--stages", "continual_pretraining", "--needle", "false",
        "--continual_pretraining.max_steps", "30", "--continual_pretraining.per_device_train_batch_size", "2",
        "--continual_pretraining.learning_rate", "1e-3", "--continual_pretraining.warmup_steps", "4",
        "--continual_pretraining.dataloader_pin_memory", "false",
    ]  # fmt: skip
    assert main(["train", *words, "--plan"]) == 0
    assert not (tmp_path / "run").exists()
    assert main(["train", *words]) == 0
    extended = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert type(extended) is LlamaForCausalLM
    after = loss_beyond_the_window(extended, tokenizer, texts)
    with capsys.disabled():
        print(f"\nloss at positions {WINDOW} to {TARGET}: {before:.3f} before, {after:.3f} after")
    assert after < before - 0.4
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["stages"][0]["tokens"] == 30 * 2 * TARGET
