"""The collator inside TRL's trainers: losses against each dialogue alone, packing, adapters, preference pairs."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from lsw_hf import EpochOfPositions
from lsw_hf.data.positions.collator import DataCollatorForSkipAlign
from lsw_hf.data.positions.preference import DataCollatorForSkipAlignPreference
from tests.attention.attention_oracle import TOLERANCE, make_model, oracle, rows

# Old names that transformers 5.23 and TRL 1.16 still use themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*checkpointing.* is deprecated:FutureWarning"),
]

ARGUMENTS = {
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "per_device_train_batch_size": 3,
    "max_steps": 1,
    "disable_tqdm": True,
    "save_strategy": "no",
    "learning_rate": 0.0,
    "dataloader_pin_memory": False,
}


def skip_collator(packed: bool) -> DataCollatorForSkipAlign:
    model = make_model("llama", "lsw_sdpa") if packed else None
    return DataCollatorForSkipAlign(
        pad_token_id=0, context_length=900, skip_probability=1.0, packed=packed, model=model
    )


def loss_of_trainer(trainer: SFTTrainer) -> float:
    trainer.train()
    return next(entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry)


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_by_trl(tmp_path, tiny_tokenizer, adapter, checkpointing):
    trainer = SFTTrainer(
        make_model("llama", "lsw_sdpa"),
        SFTConfig(str(tmp_path), **ARGUMENTS, packing=True, max_length=64, gradient_checkpointing=checkpointing),
        train_dataset=Dataset.from_list(rows()),
        processing_class=tiny_tokenizer,
        peft_config=LoraConfig(target_modules="all-linear") if adapter else None,
    )
    trainer.data_collator = skip_collator(packed=True)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["cu_seq_lens_q"].numel() == 4
    expected, _ = oracle("llama")
    assert abs(loss_of_trainer(trainer) - expected) <= TOLERANCE * expected


@pytest.mark.parametrize("name", ["qwen3", "mistral", "gemma3", "longskywork"])
def test_packed_by_trl_on_every_model(tmp_path, tiny_tokenizer, name):
    trainer = SFTTrainer(
        make_model(name, "lsw_sdpa"),
        SFTConfig(str(tmp_path), **ARGUMENTS, packing=True, max_length=64, gradient_checkpointing=False),
        train_dataset=Dataset.from_list(rows()),
        processing_class=tiny_tokenizer,
    )
    trainer.data_collator = skip_collator(packed=True)
    expected, _ = oracle(name)
    assert abs(loss_of_trainer(trainer) - expected) <= TOLERANCE * expected


def test_trl_refuses_our_collator_while_it_packs(tmp_path, tiny_tokenizer):
    """Padding-free batches come from TRL's own collator; SkipAlignTrainer puts ours in place behind its back."""
    with pytest.raises(ValueError, match="collator"):
        SFTTrainer(
            make_model("llama", "lsw_sdpa"),
            SFTConfig(str(tmp_path), **ARGUMENTS, packing=True, max_length=64),
            train_dataset=Dataset.from_list(rows()),
            processing_class=tiny_tokenizer,
            data_collator=skip_collator(packed=True),
        )


def test_rows_through_the_data_collator_argument(tmp_path, tiny_tokenizer):
    trainer = SFTTrainer(
        make_model("llama", "sdpa"),
        SFTConfig(str(tmp_path), **ARGUMENTS, max_length=None, gradient_checkpointing=False),
        train_dataset=Dataset.from_list(rows()),
        processing_class=tiny_tokenizer,
        data_collator=skip_collator(packed=False),
    )
    expected, _ = oracle("llama")
    assert abs(loss_of_trainer(trainer) - expected) <= TOLERANCE * expected


def positions_by_step(tmp_path, tokenizer, resume_from: str | None = None, **changes) -> list[list]:
    """Two passes over three rows in four steps; what the base model was given in each step, rows in a fixed order.
    The collator stands alone: no callback tells it the epoch, unless `callback` is set."""
    model, steps = make_model("llama", "sdpa"), []

    def record(module: torch.nn.Module, positional: tuple, given: dict) -> None:
        rows = zip(given["input_ids"].tolist(), given["position_ids"].tolist(), strict=True)
        pairs = [[[token for token in ids if token], positions] for ids, positions in rows]
        steps.append(sorted([ids, positions[: len(ids)]] for ids, positions in pairs))

    model.model.register_forward_pre_hook(record, with_kwargs=True)
    stream, callback = changes.pop("stream", False), changes.pop("callback", False)
    dataset = Dataset.from_list(rows())
    options = {"max_steps": 4, "per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 1, **changes}
    collator = skip_collator(packed=False)
    trainer = SFTTrainer(
        model,
        SFTConfig(str(tmp_path), **{**ARGUMENTS, **options}, max_length=None, gradient_checkpointing=False),
        train_dataset=dataset.to_iterable_dataset() if stream else dataset,
        processing_class=tokenizer,
        data_collator=collator,
        callbacks=[EpochOfPositions(collator)] if callback else None,
    )
    trainer.train(resume_from_checkpoint=resume_from)
    return steps


def drawn(epoch: int) -> dict[tuple, list]:
    """What the collator alone draws for each row in an epoch."""
    collator = skip_collator(packed=False)
    collator.set_epoch(epoch)
    return {tuple(row["input_ids"]): collator([row])["position_ids"][0].tolist() for row in rows()}


def by_row(steps: list[list]) -> dict[tuple, list]:
    return {tuple(ids): positions for step in steps for ids, positions in step}


WORKERS = {"dataloader_num_workers": 2}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(
    "changes", [{}, WORKERS, {**WORKERS, "dataloader_persistent_workers": True, "callback": True}], ids=str
)
def test_epochs_differ_and_a_resumed_one_is_the_same(tmp_path, tiny_tokenizer, changes):
    whole = positions_by_step(tmp_path, tiny_tokenizer, **changes)
    assert [by_row(whole[:2]), by_row(whole[2:])] == [drawn(0), drawn(1)]
    for step in (2, 3) if not changes else (3,):  # between two epochs, and inside the second
        checkpoint = str(tmp_path / f"checkpoint-{step}")
        assert positions_by_step(tmp_path, tiny_tokenizer, checkpoint, **changes) == whole[step:]


@pytest.mark.parametrize("callback", [False, True])
def test_a_stream_of_unknown_length_has_epochs_too(tmp_path, tiny_tokenizer, callback):
    whole = positions_by_step(tmp_path, tiny_tokenizer, stream=True, callback=callback)
    assert [by_row(whole[:2]), by_row(whole[2:])] == [drawn(0), drawn(1)]
    resumed = positions_by_step(
        tmp_path, tiny_tokenizer, str(tmp_path / "checkpoint-1"), stream=True, callback=callback
    )
    assert resumed == whole[1:]


def test_preference_pairs(tmp_path, tiny_tokenizer):
    """Positions reach the model: with them the answers' log-probabilities are those of the model called by hand."""
    pairs = [{"prompt": "the red box", "chosen": " is near", "rejected": " holds a key"}] * 2
    model = make_model("llama", "sdpa")
    trainer = DPOTrainer(
        model,
        ref_model=make_model("llama", "sdpa"),
        args=DPOConfig(str(tmp_path), **{**ARGUMENTS, "per_device_train_batch_size": 2}),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tiny_tokenizer,
        data_collator=DataCollatorForSkipAlignPreference(0, 900, skip_probability=1.0),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    assert int(batch["position_ids"].max()) > batch["input_ids"].shape[1]
    with torch.no_grad():
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
        scores = model.base_model(**inputs, use_cache=False).last_hidden_state @ model.lm_head.weight.T
        chosen = scores.log_softmax(-1)[:, :-1].gather(2, batch["input_ids"][:, 1:, None])[..., 0]
        expected = (chosen * batch["completion_mask"][:, 1:]).sum(1)
        found = torch.cat(trainer.compute_ref_log_probs(model, batch))
    torch.testing.assert_close(found, expected)
