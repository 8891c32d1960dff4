"""Windows of continual pretraining: built in the library's one way, equal in every process and after a resume."""

import copy
import dataclasses
import json
import shutil

import datasets
import pytest
import torch
from datasets import load_dataset
from transformers import HfArgumentParser

from lsw_hf import cli
from lsw_hf.data.corpus.documents import load_documents
from lsw_hf.data.windows.config import WindowOptions
from lsw_hf.data.windows.dataset import interleave_dataset
from lsw_hf.data.windows.interleaver import interleave_chunks
from lsw_hf.training.continual_pretraining import ContinualPretrainingConfig, ContinualPretrainingTrainer


def documents():
    text = "the key of the river is red . where is the lamp ? under the old stone . how many ? seven ."
    words = text.split()
    return datasets.Dataset.from_list([{"text": " ".join(words[i:] + words[:i])} for i in range(12)])


@pytest.fixture
def bos_tokenizer(tiny_tokenizer):
    """Llama's habit: `<s>` in front of whatever is tokenized with the tokenizer's own defaults."""
    from tokenizers import processors

    tokenizer = copy.deepcopy(tiny_tokenizer)
    bos = tokenizer.convert_ids_to_tokens(2)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, 2)]
    )
    assert tokenizer("the key")["input_ids"][0] == 2
    return tokenizer


def loaded_windows(trainer, count):
    """The first windows that the trainer's loader gives."""
    found = []
    for batch in trainer.get_train_dataloader():
        found += batch["input_ids"].tolist()
        if len(found) >= count:
            break
    return found[:count]


@pytest.mark.parametrize("shuffle_buffer", [0, 5])
def test_one_corpus_has_the_same_windows_at_every_door(bos_tokenizer, tiny_llama, arguments, tmp_path, shuffle_buffer):
    """The trainer, `interleave_dataset` and `lsw-hf data interleave`, for a tokenizer that adds BOS."""
    rows, seed = documents(), 7
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    stream = load_documents(tmp_path / "texts.jsonl")
    args = arguments(ContinualPretrainingConfig, max_length=37, seed=seed, shuffle_buffer=shuffle_buffer)
    trainer = ContinualPretrainingTrainer(tiny_llama, args, stream, bos_tokenizer)

    config = args.window_config(bos_tokenizer.eos_token_id)
    streamed = interleave_dataset(stream, config, tokenizer=bos_tokenizer, num_shards=1, seed=seed)
    expected = [row["input_ids"].tolist() for row in streamed]
    assert loaded_windows(trainer, len(expected)) == expected

    bos_tokenizer.save_pretrained(tmp_path / "tokenizer")
    words = ["data", "interleave", "--documents", tmp_path / "texts.jsonl", "--tokenizer", tmp_path / "tokenizer"]
    words += ["--output", tmp_path / "out", "--window-length", 37, "--seed", seed]
    words += ["--shuffle-buffer", shuffle_buffer]
    assert cli.main([str(word) for word in words]) == 0
    written = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert written["input_ids"][:] == expected

    # And what all three should be: no BOS anywhere, one end token a document.
    tokens = bos_tokenizer(rows["text"][:], add_special_tokens=False)["input_ids"]
    plain = interleave_chunks(tokens, window_length=37, separator_id=bos_tokenizer.eos_token_id, seed=seed)
    assert ([window["input_ids"].tolist() for window in plain] == expected) == (shuffle_buffer == 0)
    assert not any(2 in window for window in expected)


def test_a_field_of_the_windows_is_an_option_of_training_with_the_same_default():
    parser = HfArgumentParser([ContinualPretrainingConfig])
    words = ["--output_dir", "run", "--max_length", "64", "--max_steps", "1", "--bf16", "false"]
    (parsed,) = parser.parse_args_into_dataclasses([*words, "--chunks_per_document", "3", "--separator_id", "none"])
    assert (parsed.chunks_per_document, parsed.separator_id) == (3, "none")
    for item in dataclasses.fields(WindowOptions):
        if item.name != "chunks_per_document":
            assert getattr(parsed, item.name) == item.default, item.name


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("source", ["dataset", "stream"])
def test_every_window_is_loaded_once_whatever_the_number_of_workers(tiny_llama, tiny_tokenizer, arguments, source):
    rows = documents() if source == "dataset" else documents().to_iterable_dataset(num_shards=4)
    loaded = []
    for workers in (0, 2):
        args = arguments(
            ContinualPretrainingConfig, max_length=37, documents_per_window=3, dataloader_num_workers=workers
        )
        trainer = ContinualPretrainingTrainer(copy.deepcopy(tiny_llama), args, rows, tiny_tokenizer)
        loaded.append(loaded_windows(trainer, 20))
    assert loaded[0] == loaded[1]
    assert len(set(map(tuple, loaded[0]))) == 20


def test_a_resumed_run_finds_its_place_in_a_later_pass(tiny_llama, tiny_tokenizer, arguments):
    """The documents fill some 7 windows; the run needs 16, and stops after 12."""
    rows, seen = documents(), []

    def train(max_steps, resume):
        model = copy.deepcopy(tiny_llama)
        model.model.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["input_ids"].tolist()), with_kwargs=True
        )
        args = arguments(
            ContinualPretrainingConfig, max_length=37, max_steps=max_steps, save_strategy="steps", save_steps=6
        )
        trainer = ContinualPretrainingTrainer(model, args, rows, tiny_tokenizer)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = train(8, None)
    assert whole.window_counts["documents_read"] > 2 * len(rows)
    assert seen[0] != seen[len(seen) // 2]
    expected, seen[:] = seen[6:], []
    shutil.rmtree(f"{whole.args.output_dir}/checkpoint-8")
    resumed = train(8, True)
    assert seen == expected
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_continual_pretraining_attends_across_documents(tiny_llama, tiny_tokenizer, arguments):
    """Without attention across documents, chunk interleaving would teach nothing: no mask may separate them."""
    seen = []
    tiny_llama.model.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True)
    args = arguments(ContinualPretrainingConfig, max_length=37, documents_per_window=3)
    trainer = ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer)
    trainer.train()
    assert trainer.window_counts["windows"] >= 4
    assert trainer.window_counts["tokens_emitted"] == 37 * trainer.window_counts["windows"]
    batch = seen[0]
    changed = {key: value.clone() if torch.is_tensor(value) else value for key, value in batch.items()}
    changed["input_ids"][:, 0] = 30
    tiny_llama.eval()
    with torch.no_grad():
        before, after = tiny_llama(**batch).logits, tiny_llama(**changed).logits
    assert float((before[:, -1] - after[:, -1]).abs().max()) > 1e-6


def test_plain_windows_can_keep_their_documents_apart(tiny_llama, tiny_tokenizer, arguments):
    """`plain_attention="document"` reaches the model: no token looks into the document before its own."""
    seen = []
    tiny_llama.model.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True)
    args = arguments(
        ContinualPretrainingConfig, max_length=61, interleaved_fraction=0.0, plain_attention="document",
        per_device_train_batch_size=1,
    )  # fmt: skip
    ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer).train()
    batch = seen[0]
    second = int((batch["position_ids"][0] == 0).nonzero()[1])
    assert 0 < second < 60
    changed = {key: value.clone() if torch.is_tensor(value) else value for key, value in batch.items()}
    changed["input_ids"][:, 0] = 30
    tiny_llama.eval()
    with torch.no_grad():
        before, after = tiny_llama(**batch).logits, tiny_llama(**changed).logits
    assert torch.equal(before[:, second:], after[:, second:])
    assert not torch.equal(before[:, :second], after[:, :second])


@pytest.mark.parametrize("form", ["text", "tokens", "stream"])
def test_documents_are_evaluated_in_windows(tiny_llama, tiny_tokenizer, arguments, form):
    """As they are, or several sets by name, in training and by hand; the loss is the mean over all windows."""
    rows = documents()
    if form == "tokens":
        rows = rows.map(lambda row: tiny_tokenizer(row["text"]), remove_columns="text")
    held_out = rows.to_iterable_dataset() if form == "stream" else rows
    args = arguments(ContinualPretrainingConfig, max_length=37, eval_strategy="steps", eval_steps=1, shuffle_buffer=0)
    trainer = ContinualPretrainingTrainer(tiny_llama, args, rows, tiny_tokenizer, {"one": held_out, "two": held_out})
    trainer.train()
    seen = set().union(*trainer.state.log_history)
    assert {"eval_one_loss", "eval_two_loss", "eval_mean_token_accuracy"} <= seen
    by_hand = trainer.evaluate(held_out)["eval_loss"]
    assert by_hand == trainer.evaluate("one")["eval_loss"] == trainer.evaluate({"x": held_out})["eval_x_loss"]
    config = args.window_config(tiny_tokenizer.eos_token_id)
    tokenizer = None if form == "tokens" else tiny_tokenizer
    made = interleave_dataset(rows, config, tokenizer=tokenizer, num_shards=1, seed=args.seed)
    windows = [torch.as_tensor(row["input_ids"]) for row in made]
    with torch.no_grad():
        losses = [float(tiny_llama(input_ids=ids[None], labels=ids[None]).loss) for ids in windows]
    assert by_hand == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_documents_that_cannot_be_evaluated_are_refused_at_once(tiny_llama, tiny_tokenizer, arguments):
    args = arguments(ContinualPretrainingConfig, max_length=37)
    few = documents().select(range(1))
    with pytest.raises(ValueError, match="The documents of eval_dataset: "):
        ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer, few)
    with pytest.raises(ValueError, match="A document needs the column 'text' or 'input_ids'"):
        ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer, few.rename_column("text", "body"))
    with pytest.raises(TypeError, match="eval_dataset must be a dataset, or several by name, got list"):
        ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer, [{"text": "a"}])
    with pytest.raises(ValueError, match="formatting_func has no effect here"):
        ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer, formatting_func=str)


def plain_documents_apart(arguments, **options):
    settings = {"max_length": 61, "interleaved_fraction": 0.0, "plain_attention": "document", **options}
    return arguments(ContinualPretrainingConfig, per_device_train_batch_size=1, **settings)


def test_windows_whose_documents_leak_do_not_start(tiny_llama, tiny_tokenizer, arguments):
    """An all-ones mask switches the detection of borders off; the loss looks healthy."""
    trainer = ContinualPretrainingTrainer(tiny_llama, plain_documents_apart(arguments), documents(), tiny_tokenizer)
    collate = trainer.data_collator

    def with_mask(examples):
        batch = collate(examples)
        return {**batch, "attention_mask": batch["input_ids"].ne(-1).long()}

    trainer.data_collator = with_mask
    with pytest.raises(ValueError, match="Attention leaks between packed dialogues"):
        trainer.train()


def test_windows_of_separate_documents_are_refused_under_data_parallel(tiny_llama, tiny_tokenizer, arguments):
    """Newer TRL refuses it for every trainer, before ours is asked."""
    args = plain_documents_apart(arguments)
    args._n_gpu = 2
    with pytest.raises(ValueError, match="DataParallel"):
        ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer)


def test_the_windows_of_the_probe_are_not_counted(tiny_llama, tiny_tokenizer, arguments):
    args = plain_documents_apart(arguments, dataloader_num_workers=1)
    trainer = ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer)
    trainer.train()
    assert trainer.window_counts == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": None}, "max_length is the window length"),
        ({"max_steps": -1}, "max_steps must be positive, got -1"),
        ({"packing": True}, "packing must be False"),
        ({"split": "even"}, "split must be one of 'random', 'equal', got 'even'"),
        ({"documents_per_window": 8}, "does not fit a window of 8 tokens"),
        ({"separators": "window", "separator_id": "none"}, "separators='window' puts a token at the end"),
    ],
)
def test_refused_settings(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        arguments(ContinualPretrainingConfig, **{"max_length": 8, **options})


@pytest.mark.parametrize("streaming", [False, True])
def test_documents_without_text_or_tokens(tiny_llama, tiny_tokenizer, arguments, streaming):
    args = arguments(ContinualPretrainingConfig, max_length=8)
    rows = datasets.Dataset.from_list([{"body": "red"}])
    with pytest.raises(ValueError, match=r"needs the column 'text' or 'input_ids'; it has \['body'\]"):
        ContinualPretrainingTrainer(
            tiny_llama, args, rows.to_iterable_dataset() if streaming else rows, tiny_tokenizer
        )


def test_a_tokenizer_without_an_end_token(tiny_llama, tiny_tokenizer, arguments):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.eos_token = None
    args = arguments(ContinualPretrainingConfig, max_length=37)
    with pytest.raises(ValueError, match="no end token to put between documents: set separator_id"):
        ContinualPretrainingTrainer(tiny_llama, args, documents(), tokenizer)


def test_documents_below_one_window(tiny_llama, tiny_tokenizer, arguments):
    args = arguments(ContinualPretrainingConfig, max_length=1000, documents_per_window=2)
    with pytest.raises(ValueError, match=r"fewer than one window of 1000: give more text"):
        ContinualPretrainingTrainer(tiny_llama, args, documents(), tiny_tokenizer).train()
