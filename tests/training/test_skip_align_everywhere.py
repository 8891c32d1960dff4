"""Inside the trainers loss and gradients equal each dialogue alone on every model and backend; and what is refused."""

import copy

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from lsw_hf.data.positions.collator import DataCollatorForSkipAlign
from lsw_hf.training.long_sft import LongSFTConfig, LongSFTTrainer
from lsw_hf.training.skip_align import SkipAlignConfig, SkipAlignTrainer
from tests.attention.attention_oracle import MODELS, TOLERANCE, make_model, oracle, rows
from tests.attention.test_flash import flash  # noqa: F401 (a fixture)

# Old names that transformers 5.23 and TRL 1.16 still use themselves.
pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.* is deprecated:FutureWarning")

# One step at learning rate 0 and without clipping, so that the gradients are those of the whole batch.
STEP = {"max_steps": 1, "learning_rate": 0.0, "max_grad_norm": 0.0, "per_device_train_batch_size": 3, "seed": 0}
ROWS = {**STEP, "max_length": None, "gradient_checkpointing": False}
PACKED = {
    **STEP, "packing": True, "max_length": 64, "gradient_checkpointing": False, "context_length": 900,
    "skip_probability": 1.0,
}  # fmt: skip


class Gradients(TrainerCallback):
    """Keeps the gradients of the step."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def assert_trains_like(trainer: SFTTrainer, expected: tuple[float, dict[str, torch.Tensor]]) -> None:
    gradients = Gradients()
    trainer.add_callback(gradients)
    loss, wanted = trainer.train().training_loss, expected[1]
    assert abs(loss - expected[0]) <= TOLERANCE * expected[0]
    found = {name.removeprefix("_orig_mod."): value for name, value in gradients.found.items()}
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        scale = max(1.0, gradient.abs().max().item())
        assert (found[name] - gradient).abs().max().item() <= TOLERANCE * scale, name


def packed_trainer(model, tokenizer, args, adapter=None) -> SkipAlignTrainer:
    data = Dataset.from_list(rows())
    return SkipAlignTrainer(model, args, data, tokenizer, peft_config=adapter)


def row_trainer(model, tokenizer, args) -> SFTTrainer:
    """The one line in a script of TRL."""
    collator = DataCollatorForSkipAlign(0, 900, skip_probability=1.0)
    return SFTTrainer(
        model, args, train_dataset=Dataset.from_list(rows()), processing_class=tokenizer, data_collator=collator
    )


@pytest.fixture
def build(request):
    """Makes a model on a backend, also on the dispatch of flash attention with slow kernels."""

    def make(name: str, backend: str):
        if backend == "flash_attention_2":
            return request.getfixturevalue("flash")(name)
        return make_model(name, backend)

    return make


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", ["lsw_sdpa", "flash_attention_2"])
def test_packed(build, tiny_tokenizer, arguments, name, backend):
    trainer = packed_trainer(build(name, backend), tiny_tokenizer, arguments(SkipAlignConfig, **PACKED))
    assert_trains_like(trainer, oracle(name))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", ["eager", "sdpa", "flash_attention_2"])
def test_rows(build, tiny_tokenizer, arguments, name, backend):
    trainer = row_trainer(build(name, backend), tiny_tokenizer, arguments(SFTConfig, **ROWS))
    assert_trains_like(trainer, oracle(name))


@pytest.mark.parametrize("backend", ["lsw_sdpa", "flash_attention_2"])
@pytest.mark.parametrize("name", ["mistral", "longskywork"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_with_an_adapter(build, tiny_tokenizer, arguments, name, backend, checkpointing):
    # Random from the start: where the second matrix is zero, the first has no gradient.
    adapter = LoraConfig(target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    args = arguments(SkipAlignConfig, **{**PACKED, "gradient_checkpointing": checkpointing})
    trainer = packed_trainer(build(name, backend), tiny_tokenizer, args, adapter)
    reference = get_peft_model(make_model(name, "eager"), copy.deepcopy(adapter))
    set_peft_model_state_dict(reference, get_peft_model_state_dict(trainer.model))
    expected = oracle(name, reference)
    assert len(expected[1]) == 2 * 2 * 7  # two matrices for seven linear layers in each of two blocks
    assert_trains_like(trainer, expected)


@pytest.mark.parametrize("backend", ["lsw_sdpa", "flash_attention_2"])
def test_packed_with_checkpointing(build, tiny_tokenizer, arguments, backend):
    args = arguments(SkipAlignConfig, **{**PACKED, "gradient_checkpointing": True})
    assert_trains_like(packed_trainer(build("qwen3", backend), tiny_tokenizer, args), oracle("qwen3"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
# From the compiler itself, where it traces TRL's chunked loss.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated. Methods on autograd functions:DeprecationWarning")
@pytest.mark.parametrize("packed", [False, True])
def test_compiled(tiny_tokenizer, arguments, packed):
    options = {**(PACKED if packed else ROWS), "torch_compile": True, "torch_compile_backend": "eager"}
    args = arguments(SkipAlignConfig if packed else SFTConfig, **options)
    make = packed_trainer if packed else row_trainer
    assert_trains_like(
        make(make_model("llama", "lsw_sdpa" if packed else "sdpa"), tiny_tokenizer, args), oracle("llama")
    )


def test_the_backend_may_not_change_behind_the_trainer_s_back(tiny_tokenizer, arguments):
    """It was right when the trainer was made; the probe looks again before the first step."""
    trainer = packed_trainer(make_model("llama", "lsw_sdpa"), tiny_tokenizer, arguments(SkipAlignConfig, **PACKED))
    trainer.model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match=r"Attention is cut at skipped positions \(attn_implementation='sdpa'\)"):
        trainer.train()


def test_packed_dialogues_are_refused_under_data_parallel(tiny_tokenizer, arguments):
    args = arguments(SkipAlignConfig, **PACKED)
    args._n_gpu = 2
    with pytest.raises(ValueError, match="DataParallel"):
        packed_trainer(make_model("llama", "lsw_sdpa"), tiny_tokenizer, args)


@pytest.mark.parametrize(
    ("trainer_class", "config_class"), [(SkipAlignTrainer, SkipAlignConfig), (LongSFTTrainer, LongSFTConfig)]
)
def test_wrong_arguments_are_named(tiny_llama, tiny_tokenizer, rows, arguments, trainer_class, config_class):
    with pytest.raises(TypeError, match="args must be a SkipAlignConfig or LongSFTConfig, got SFTConfig"):
        trainer_class(tiny_llama, arguments(SFTConfig), rows, tiny_tokenizer)
    with pytest.raises(TypeError, match="processing_class must be a tokenizer, got str: rows are text only"):
        trainer_class(tiny_llama, arguments(config_class), rows, "tokenizer")


def test_an_adapter_of_virtual_tokens_is_refused(tiny_tokenizer, arguments):
    from peft import PromptTuningConfig

    adapter = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    args = arguments(SkipAlignConfig, **{**ROWS, "context_length": 900})
    with pytest.raises(ValueError, match="PromptTuningConfig puts virtual tokens in front of every row"):
        packed_trainer(make_model("llama"), tiny_tokenizer, args, adapter)
