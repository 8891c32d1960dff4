"""A run that was killed after its last checkpoint takes those weights and trains no further."""

import copy

import datasets
import pytest
import torch
from trl import SFTTrainer

from lsw_hf import extend_context
from lsw_hf.training.skip_align import SkipAlignConfig, SkipAlignTrainer


# PEFT 0.20 looks for the vocabulary of a base model that was never saved anywhere, and says that it found none
@pytest.mark.filterwarnings("ignore:Could not find a config file in:UserWarning")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("adapter", [False, True])
def test_the_last_checkpoint_is_taken_as_it_is(
    tiny_llama, tiny_tokenizer, rows, arguments, streamed, adapter, monkeypatch
):
    extend_context(tiny_llama, context_length=512)
    rows = datasets.Dataset.from_list(list(rows)).to_iterable_dataset() if streamed else rows
    args = arguments(SkipAlignConfig, max_steps=2, save_strategy="steps", save_steps=1, max_length=64)

    def trainer(model):
        peft_config = None
        if adapter:
            from peft import LoraConfig

            peft_config = LoraConfig(task_type="CAUSAL_LM", r=2)
        return SkipAlignTrainer(
            model, args, train_dataset=rows, processing_class=tiny_tokenizer, peft_config=peft_config
        )

    whole = trainer(copy.deepcopy(tiny_llama))
    whole.train()
    monkeypatch.setattr(SFTTrainer, "training_step", None)
    again = trainer(copy.deepcopy(tiny_llama))
    result = again.train(resume_from_checkpoint=True)
    assert result.global_step == again.state.global_step == 2
    assert again.state.log_history == whole.state.log_history[:-1]  # the summary of the whole run comes after the save
    pairs = zip(whole.model.state_dict().items(), again.model.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(weight, found) for (name, weight), (other, found) in pairs)
