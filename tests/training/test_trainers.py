"""The three trainers: what they feed the model, that they equal TRL's loss, and what they refuse."""

import copy
import dataclasses
import shutil
from functools import partial

import datasets
import pytest
import torch
from trl import SFTConfig, SFTTrainer

from lsw_hf.context.extension import extend_context
from lsw_hf.context.transformers4.config_files import write_legacy_rope
from lsw_hf.data.positions.strategies import STRATEGIES
from lsw_hf.training.long_context_trainer import NonFiniteLossError
from lsw_hf.training.long_sft import LongSFTConfig, LongSFTTrainer
from lsw_hf.training.skip_align import SkipAlignConfig, SkipAlignTrainer


@pytest.mark.parametrize("accumulation", [1, 3])
def test_lean_loss_trains_like_trl(tiny_llama, tiny_tokenizer, rows, arguments, accumulation):
    """Same rows, same seed: our trainer on a CPU ends at TRL's weights, with and without gradient accumulation."""
    # Plain gradient descent: Adam would blow rounding in gradients near zero up to whole steps.
    options = {"gradient_accumulation_steps": accumulation, "max_length": None, "optim": "sgd", "learning_rate": 0.5}
    theirs, ours = copy.deepcopy(tiny_llama), copy.deepcopy(tiny_llama)
    SFTTrainer(theirs, arguments(SFTConfig, **options), train_dataset=rows, processing_class=tiny_tokenizer).train()
    LongSFTTrainer(
        ours, arguments(LongSFTConfig, **options), train_dataset=rows, processing_class=tiny_tokenizer
    ).train()
    moved = 0.0
    for (name, expected), start, found in zip(
        theirs.named_parameters(), tiny_llama.parameters(), ours.parameters(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6, msg=name)
        moved += float((expected - start).detach().abs().sum())
    assert moved > 1.0


def test_lean_loss_was_the_one_that_ran(tiny_llama, tiny_tokenizer, rows, arguments, monkeypatch):
    seen = []
    forward = type(tiny_llama.model).forward
    head = tiny_llama.lm_head.forward
    monkeypatch.setattr(tiny_llama.lm_head, "forward", lambda hidden: seen.append(hidden.shape) or head(hidden))
    trainer = LongSFTTrainer(tiny_llama, arguments(LongSFTConfig), train_dataset=rows, processing_class=tiny_tokenizer)
    trainer.train()
    assert forward is type(tiny_llama.model).forward
    assert len(seen) == 2
    assert all(shape[1] < 21 for shape in seen)
    assert any("mean_token_accuracy" in entry for entry in trainer.state.log_history)


def test_a_loss_that_is_not_a_number_stops_and_names_the_step(tiny_llama, tiny_tokenizer, rows, arguments):
    with torch.no_grad():
        tiny_llama.lm_head.weight[5, 0] = float("nan")
    trainer = LongSFTTrainer(tiny_llama, arguments(LongSFTConfig), train_dataset=rows, processing_class=tiny_tokenizer)
    with pytest.raises(NonFiniteLossError, match=r"became nan at step 1 of .*run.*last checkpoint.*learning_rate"):
        trainer.train()


def test_an_edited_config_is_refused_before_training(tiny_llama, tiny_tokenizer, rows, arguments):
    trainer = LongSFTTrainer(tiny_llama, arguments(LongSFTConfig), train_dataset=rows, processing_class=tiny_tokenizer)
    tiny_llama.config.rope_parameters = {"rope_type": "default", "rope_theta": 1e6}
    with pytest.raises(ValueError, match=r"inv_freq|frequenc"):
        trainer.train()


def test_skipped_rows_reach_the_model(tiny_llama, tiny_tokenizer, rows, arguments):
    """The positions jump, up to the target, and the mask is all ones: an absent one would cut attention at the
    jump."""
    extend_context(tiny_llama, context_length=512)
    seen = []
    handle = tiny_llama.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    args = arguments(SkipAlignConfig, skip_probability=1.0, max_length=64)
    SkipAlignTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer).train()
    handle.remove()
    for batch in seen:
        assert bool(batch["attention_mask"].all())
        assert bool((batch["position_ids"].diff() > 1).any())
        assert int(batch["position_ids"].max()) < 512


def test_each_epoch_draws_other_positions(tiny_llama, tiny_tokenizer, rows, arguments):
    extend_context(tiny_llama, context_length=512)
    seen = {}

    def record(module, args, kwargs):
        if module.training:  # not the probe before training
            key = kwargs["input_ids"].sum().item()
            seen.setdefault(key, []).append(kwargs["position_ids"].clone())

    tiny_llama.model.register_forward_pre_hook(record, with_kwargs=True)
    args = arguments(SkipAlignConfig, skip_probability=1.0, per_device_train_batch_size=1, max_steps=12, max_length=64)
    SkipAlignTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer).train()
    assert all(len(positions) == 2 for positions in seen.values())
    assert any(not torch.equal(*positions) for positions in seen.values())


def test_long_rows_are_refused_not_cut(tiny_llama, tiny_tokenizer, arguments):
    long_rows = datasets.Dataset.from_list([{"input_ids": [5] * n, "labels": [5] * n} for n in (20, 65)])
    with pytest.raises(ValueError, match=r"Row 1 has 65 tokens, more than the model's window of 64"):
        LongSFTTrainer(tiny_llama, arguments(LongSFTConfig), train_dataset=long_rows, processing_class=tiny_tokenizer)


def test_long_rows_of_a_stream_are_refused_when_they_come(tiny_llama, tiny_tokenizer, arguments):
    long_rows = datasets.Dataset.from_list([{"input_ids": [5] * 65, "labels": [5] * 65}] * 4).to_iterable_dataset()
    trainer = LongSFTTrainer(
        tiny_llama, arguments(LongSFTConfig), train_dataset=long_rows, processing_class=tiny_tokenizer
    )
    with pytest.raises(ValueError, match=r"Row 0 has 65 tokens"):
        trainer.train()


@pytest.mark.parametrize(
    ("config_class", "options", "message"),
    [
        (LongSFTConfig, {"max_length": 100}, "max_length must be None, got 100"),
    ],
)
def test_refused_settings(arguments, config_class, options, message):
    with pytest.raises(ValueError, match=message):
        arguments(config_class, **options)


def test_refused_context_length(tiny_llama, tiny_tokenizer, rows, arguments):
    args = arguments(SkipAlignConfig, context_length=65, max_length=64)
    with pytest.raises(
        ValueError, match=r"context_length=65 is more than the model's window of 64 tokens.*extend_context"
    ):
        SkipAlignTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer)


def test_refused_sentence_end(tiny_llama, tiny_tokenizer, rows, arguments):
    args = arguments(SkipAlignConfig, sentence_end_tokens=[".", ". "], max_length=64)
    with pytest.raises(ValueError, match=r"\['\. '\], which are not single tokens"):
        SkipAlignTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer)


def test_refused_own_collator(tiny_llama, tiny_tokenizer, rows, arguments):
    with pytest.raises(ValueError, match="brings its own collator"):
        SkipAlignTrainer(
            tiny_llama, arguments(SkipAlignConfig), rows, tiny_tokenizer, data_collator=lambda examples: examples
        )


@pytest.mark.parametrize("resume", [True, "checkpoint-2"])
def test_an_extended_model_resumes(tiny_llama, tiny_tokenizer, rows, arguments, resume, tmp_path):
    """Equal weights with and without a stop, also from a checkpoint that has the older spelling of its rope, which the
    plain trainer cannot read at all."""
    extend_context(tiny_llama, context_length=512)
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "max_length": 64, "skip_probability": 1.0}

    def trainer(model, config_class=SkipAlignConfig, trainer_class=SkipAlignTrainer):
        return trainer_class(
            model, arguments(config_class, **options), train_dataset=rows, processing_class=tiny_tokenizer
        )

    whole, stopped = copy.deepcopy(tiny_llama), copy.deepcopy(tiny_llama)
    trainer(whole).train()
    shutil.rmtree(tmp_path / "run" / "checkpoint-4")
    checkpoint = tmp_path / "run" / "checkpoint-2"
    write_legacy_rope(checkpoint)
    del options["skip_probability"]
    with pytest.raises(AttributeError, match="max_position_embeddings"):
        trainer(copy.deepcopy(tiny_llama), SFTConfig, SFTTrainer).train(resume_from_checkpoint=str(checkpoint))
    options["skip_probability"] = 1.0
    trainer(stopped).train(resume_from_checkpoint=True if resume is True else str(checkpoint))
    for expected, found in zip(whole.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_training_does_not_start_with_attention_cut_at_skips(tiny_llama, tiny_tokenizer, rows, arguments, monkeypatch):
    """A collator that forgets its mask leaves the loss healthy and the method off; the probe before training sees
    it."""
    extend_context(tiny_llama, context_length=512)
    args = arguments(SkipAlignConfig, skip_probability=1.0, max_length=64)
    trainer = SkipAlignTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer)
    collate = trainer.data_collator

    def without_mask(examples):
        return {key: value for key, value in collate(examples).items() if key != "attention_mask"}

    trainer.data_collator = without_mask
    with pytest.raises(ValueError, match="Attention is cut at skipped positions"):
        trainer.train()


def test_rows_that_leave_no_border_are_refused(tiny_llama, tiny_tokenizer, rows, arguments):
    """A dialogue that is trained whole, and single turns for jumps between turns: the method would be off."""
    extend_context(tiny_llama, context_length=512)
    whole = datasets.Dataset.from_list([{"input_ids": row, "labels": row} for row in [[5, 6, 7, 8, 9]] * 8])
    for train_dataset, options in ((whole, {}), (rows, {"strategy": "skip_outer"})):
        args = arguments(SkipAlignConfig, skip_probability=1.0, max_length=64, **options)
        trainer = SkipAlignTrainer(tiny_llama, args, train_dataset=train_dataset, processing_class=tiny_tokenizer)
        with pytest.raises(ValueError, match=r"finds no border to jump at in the first \d+ rows.*assistant_only_loss"):
            trainer.train()
    sentences = arguments(
        SkipAlignConfig, max_length=64, sentence_end_tokens=[tiny_tokenizer.convert_ids_to_tokens(7)]
    )
    SkipAlignTrainer(tiny_llama, sentences, train_dataset=whole, processing_class=tiny_tokenizer).train()


def test_packed_skips_are_refused_on_stock_attention(tiny_llama, tiny_tokenizer, rows, arguments):
    extend_context(tiny_llama, context_length=512)
    args = arguments(SkipAlignConfig, packing=True, max_length=64)
    with pytest.raises(ValueError, match=r"cannot carry packed dialogues.*set_attn_implementation"):
        SkipAlignTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer)


def test_packed_skips_train_on_our_attention(tiny_llama, tiny_tokenizer, rows, arguments):
    """Packed and unpacked rows give the same first loss: each dialogue keeps its own positions and its own context."""
    extend_context(tiny_llama, context_length=512)
    losses = []
    for packing in (False, True):
        model = copy.deepcopy(tiny_llama)
        if packing:
            model.set_attn_implementation("lsw_sdpa")
        args = arguments(
            SkipAlignConfig, packing=packing, max_length=64, max_steps=1, skip_probability=1.0,
            per_device_train_batch_size=6,
        )  # fmt: skip
        trainer = SkipAlignTrainer(model, args, train_dataset=rows, processing_class=tiny_tokenizer)
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_packed_dialogues_without_skips_train_on_stock_attention(tiny_llama, tiny_tokenizer, rows, arguments):
    """Contiguous positions that restart are what stock attention takes for borders of dialogues: right, and proved."""
    args = arguments(SkipAlignConfig, strategy="none", packing=True, max_length=64)
    trainer = SkipAlignTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer)
    assert trainer.train().global_step == 2


def test_packed_dialogues_without_skips_do_not_start_when_they_leak(tiny_llama, tiny_tokenizer, rows, arguments):
    """An all-ones mask switches the detection of borders off; the loss looks healthy."""
    args = arguments(SkipAlignConfig, strategy="none", packing=True, max_length=64)
    trainer = SkipAlignTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer)
    collate = trainer.data_collator

    def with_mask(examples):
        batch = collate(examples)
        return {**batch, "attention_mask": batch["input_ids"].ne(-1).long()}

    trainer.data_collator = with_mask
    with pytest.raises(ValueError, match="Attention leaks between packed dialogues"):
        trainer.train()


def test_the_help_of_strategy_names_every_strategy():
    for config_class in (SkipAlignConfig, LongSFTConfig):
        text = next(field for field in dataclasses.fields(config_class) if field.name == "strategy").metadata["help"]
        assert [line.partition(":")[0] for line in text.splitlines()[1:]] == list(STRATEGIES)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("trainer_class", "config_class"), [(SkipAlignTrainer, SkipAlignConfig), (LongSFTTrainer, LongSFTConfig)]
)
def test_refused_position_column(tiny_llama, tiny_tokenizer, rows, arguments, trainer_class, config_class, streaming):
    """TRL drops the column without a word."""
    given = rows.map(lambda row: {"position_ids": list(range(len(row["input_ids"])))})
    given = given.to_iterable_dataset() if streaming else given
    with pytest.raises(ValueError, match=r"a column position_ids, which would be ignored.*remove_columns"):
        trainer_class(tiny_llama, arguments(config_class), train_dataset=given, processing_class=tiny_tokenizer)


@pytest.mark.parametrize(
    ("trainer_class", "config_class"), [(SkipAlignTrainer, SkipAlignConfig), (LongSFTTrainer, LongSFTConfig)]
)
def test_what_trl_would_pass_over_is_refused(tiny_llama, tiny_tokenizer, arguments, trainer_class, config_class):
    messages = [{"role": "user", "content": "where ?"}, {"role": "assistant", "content": "in the box ."}]
    weighted = [messages[0], {**messages[1], "weight": 0}]
    make = partial(trainer_class, tiny_llama, arguments(config_class), processing_class=tiny_tokenizer)
    plain = datasets.Dataset.from_list([{"messages": messages}])
    for rows in (plain, plain.to_iterable_dataset()):
        with pytest.raises(ValueError, match="formatting_func has no effect on rows with messages"):
            make(train_dataset=rows, formatting_func=str)
    pairs = datasets.Dataset.from_list([{"prompt": "a", "completion": "b"}])
    with pytest.raises(ValueError, match=r"no effect on rows with prompt.*remove_columns\('prompt'\)"):
        make(train_dataset=pairs, formatting_func=str)
    with pytest.raises(ValueError, match="row 1: message 1 of 'messages' has the weight 0, which would be ignored"):
        make(
            train_dataset=datasets.Dataset.from_list(
                [{"messages": [*messages[:1], {**messages[1], "weight": 1}]}, {"messages": weighted}]
            )
        )
    features = datasets.Features(
        {"prompt": datasets.List(datasets.Json()), "completion": datasets.List(datasets.Json())}
    )
    pair = [{"prompt": messages[:1], "completion": weighted[1:]}]
    with pytest.raises(ValueError, match="row 0: message 0 of 'completion' has the weight 0"):
        make(train_dataset=datasets.Dataset.from_list(pair, features))
