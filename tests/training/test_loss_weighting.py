"""Every sequence counts the same: against a loop over sequences, packed, accumulated and over two real processes."""

import copy

import datasets
import pytest
import torch

from lsw_hf.training.continual_pretraining import ContinualPretrainingConfig
from lsw_hf.training.long_sft import LongSFTConfig, LongSFTTrainer
from lsw_hf.training.losses import sequence_weights
from lsw_hf.training.skip_align import SkipAlignConfig, SkipAlignTrainer
from tests.processes import in_two_processes

# Plain gradient descent: Adam would blow rounding in gradients near zero up to whole steps.
DESCENT = {"optim": "sgd", "learning_rate": 0.5, "train_sampling_strategy": "sequential", "loss_weighting": "sequence"}


@pytest.fixture
def rows():
    """Eight rows of odd lengths; the labeled share differs, so that token mean and sequence mean do."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for number, length in enumerate((13, 7, 21, 10, 17, 9, 5, 19)):
        ids = torch.randint(4, 40, (length,), generator=generator).tolist()
        cut = 1 if number % 2 else length - 2
        made.append({"input_ids": ids, "labels": [-100] * cut + ids[cut:]})
    return datasets.Dataset.from_list(made)


def mean_of_means(model, rows):
    """Independent truth: one forward a sequence, a Python loop over its tokens, the mean of the means."""
    means = []
    for row in rows:
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        losses = [
            -torch.log_softmax(logits[place - 1], dim=-1)[label]
            for place, label in enumerate(row["labels"])
            if place and label != -100
        ]
        if losses:
            means.append(sum(losses) / len(losses))
    return sum(means) / len(means)


def expected_loss(model, rows):
    with torch.no_grad():
        return float(mean_of_means(model, rows))


def gradients(model, loss):
    return torch.autograd.grad(loss, [weight for weight in model.parameters() if weight.requires_grad])


def trained(model, rows, tokenizer, args):
    model = copy.deepcopy(model)
    kind = SkipAlignTrainer if isinstance(args, SkipAlignConfig) else LongSFTTrainer
    trainer = kind(model, args, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}, trainer.state.log_history


def assert_same(found, expected):
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=2e-6, msg=name)


def test_weights_of_packed_and_padded_sequences():
    labels = torch.tensor([[7, 1, 2, 9, 3, 4, -100, 6, -100, -100]])
    expected = torch.tensor([[0, 1 / 2, 1 / 2, 0, 1 / 3, 1 / 3, 0, 1 / 3, 0, 0]])
    borders = {"cu_seq_lens_q": torch.tensor([0, 3, 8, 10], dtype=torch.int32)}
    restarted = {"position_ids": torch.tensor([[0, 1, 900, 0, 5, 6, 7, 8, 0, 1]])}
    for inputs in (borders, restarted, borders | {"position_ids": torch.arange(10)[None]}):
        weights, sequences = sequence_weights(labels, inputs)
        torch.testing.assert_close(weights, expected)
        assert int(sequences) == 2  # the last one is padding


def test_weights_of_rows():
    labels = torch.tensor([[-100, 5, 6, -100], [-100, -100, -100, -100], [1, 5, -100, -100]])
    weights, sequences = sequence_weights(labels, {})
    assert weights.tolist() == [[0, 0.5, 0.5, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert int(sequences) == 2


def test_a_sequence_of_one_token_ends_at_an_equal_position():
    """Positions 0 0 1 are a sequence of one token and one of two."""
    weights, sequences = sequence_weights(torch.tensor([[5, 6, 7, 8]]), {"position_ids": torch.tensor([[0, 0, 1, 0]])})
    assert (weights.tolist(), int(sequences)) == ([[0, 0, 1, 0]], 1)


@pytest.mark.parametrize("lean", [True, False])
def test_loss_and_gradient_equal_the_loop(tiny_llama, tiny_tokenizer, rows, arguments, monkeypatch, lean):
    """On the CPU's loss over labeled columns and on TRL's fused head."""
    args = arguments(LongSFTConfig, loss_weighting="sequence")
    trainer = LongSFTTrainer(tiny_llama, args, train_dataset=rows, processing_class=tiny_tokenizer)
    if not lean:
        monkeypatch.setattr(LongSFTTrainer, "_takes_lean_loss", lambda self, inputs: False)
    trainer._check_before_training()
    tiny_llama.train()
    loss = trainer.compute_loss(tiny_llama, trainer.data_collator(list(rows)))
    expected = mean_of_means(tiny_llama, rows)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    for found, wanted in zip(gradients(tiny_llama, loss), gradients(tiny_llama, expected), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    args.loss_weighting = "token"
    by_token = trainer.compute_loss(tiny_llama, trainer.data_collator(list(rows)))
    assert abs(by_token.item() - expected.item()) > 1e-3


def test_token_mean_is_the_default(arguments):
    for kind in (LongSFTConfig, SkipAlignConfig):
        assert arguments(kind).loss_weighting == "token"
    assert arguments(ContinualPretrainingConfig, max_length=8).loss_weighting == "token"


def test_the_evaluation_loss_is_the_token_mean(tiny_llama, tiny_tokenizer, rows, arguments):
    losses = []
    for weighting in ("token", "sequence"):
        args = arguments(LongSFTConfig, loss_weighting=weighting)
        trainer = LongSFTTrainer(
            copy.deepcopy(tiny_llama), args, rows, tiny_tokenizer, eval_dataset=rows.select(range(3))
        )
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses[0] == losses[1]


def test_accumulation_changes_nothing(tiny_llama, tiny_tokenizer, rows, arguments):
    """Eight rows in two steps: four at once, or one after the other. The token mean would end elsewhere."""
    ends = []
    for batch, steps, weighting in ((4, 1, "sequence"), (1, 4, "sequence"), (4, 1, "token")):
        args = arguments(
            LongSFTConfig,
            **{**DESCENT, "loss_weighting": weighting},
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=steps,
        )
        ends.append(trained(tiny_llama, rows, tiny_tokenizer, args))
    (whole, log), (parts, _), (by_token, _) = ends
    assert_same(parts, whole)
    assert max(float((whole[name] - by_token[name]).abs().max()) for name in whole) > 1e-3
    assert log[0]["loss"] == pytest.approx(expected_loss(tiny_llama, rows.select(range(4))), rel=1e-4)


def test_packed_rows_train_like_padded_ones(tiny_llama, tiny_tokenizer, rows, arguments):
    """Packed two or three to a row, all eight sequences still count an eighth each."""
    ends = []
    for packing in (False, True):
        model = copy.deepcopy(tiny_llama)
        if packing:
            model.set_attn_implementation("lsw_sdpa")
        args = arguments(
            SkipAlignConfig,
            **DESCENT,
            packing=packing,
            strategy="none",
            max_length=64,
            max_steps=1,
            per_device_train_batch_size=8,
        )
        ends.append(trained(model, rows, tiny_tokenizer, args))
    assert_same(ends[1][0], ends[0][0])
    expected = expected_loss(tiny_llama, rows)
    assert [log[0]["loss"] for _, log in ends] == [pytest.approx(expected, rel=1e-4)] * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="processes are forked, and a fork cannot begin to use CUDA")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_two_processes_train_like_one(tiny_llama, tiny_tokenizer, rows, arguments, tmp_path):
    """A real gloo group, each process with half of every step: the same weights and the same logged loss."""
    options = {**DESCENT, "gradient_accumulation_steps": 2}
    whole, log = trained(
        tiny_llama, rows, tiny_tokenizer, arguments(LongSFTConfig, **options, per_device_train_batch_size=2)
    )

    def run():
        args = arguments(
            LongSFTConfig, **options, per_device_train_batch_size=1, ddp_backend="gloo", output_dir=str(tmp_path / "2")
        )
        weights, history = trained(tiny_llama, rows, tiny_tokenizer, args)
        assert torch.distributed.get_world_size() == args.world_size == 2
        return {name: weight.numpy() for name, weight in weights.items()}, history

    results = in_two_processes(run)
    for weights, _ in results:
        assert_same({name: torch.from_numpy(weight) for name, weight in weights.items()}, whole)
    first = results[0][1]
    assert [entry["loss"] for entry in first[:2]] == [pytest.approx(entry["loss"], rel=1e-4) for entry in log[:2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_weighting": "row"}, "loss_weighting must be 'token' or 'sequence', got 'row'"),
        (
            {"loss_weighting": "sequence", "loss_type": "dft"},
            "needs loss_type='nll' and label_smoothing_factor=0, got 'dft' and 0",
        ),
        ({"loss_weighting": "sequence", "label_smoothing_factor": 0.1}, "got 'nll' and 0.1"),
    ],
)
def test_refused_settings(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        arguments(LongSFTConfig, **options)


def test_refused_loss_function(tiny_llama, tiny_tokenizer, rows, arguments):
    args = arguments(LongSFTConfig, loss_weighting="sequence")
    trainer = LongSFTTrainer(tiny_llama, args, rows, tiny_tokenizer)
    trainer.compute_loss_func = lambda *args, **kwargs: 0
    with pytest.raises(ValueError, match="does not go with a compute_loss_func: leave one of the two out"):
        trainer.train()


def test_refused_router_loss(tiny_llama, tiny_tokenizer, rows, arguments):
    args = arguments(LongSFTConfig, loss_weighting="sequence")
    trainer = LongSFTTrainer(tiny_llama, args, rows, tiny_tokenizer)
    trainer.aux_loss_enabled = True
    with pytest.raises(
        ValueError, match=r"does not go with a router loss: set model\.config\.output_router_logits=False"
    ):
        trainer.train()


def test_refused_parallelism(tiny_llama, tiny_tokenizer, rows, arguments, monkeypatch):
    args = arguments(LongSFTConfig, loss_weighting="sequence")
    trainer = LongSFTTrainer(tiny_llama, args, rows, tiny_tokenizer)

    class Sharded:
        parallelism_config = type("", (), {"cp_enabled": True, "sp_enabled": False})()

        def unwrap_model(self, model):
            return model

    monkeypatch.setattr(trainer, "accelerator", Sharded())
    with pytest.raises(ValueError, match="context or sequence parallelism, which cuts sequences apart"):
        trainer._check_before_training()
