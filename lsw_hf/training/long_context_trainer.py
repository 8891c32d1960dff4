"""What the three trainers share: a RoPE check before the start, a lean loss on CPU, a stop at a loss that is not a
number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput
from trl.trainer import sft_trainer

from ..context.verification import verify_context
from ..data.positions.collator import DataCollatorForSkipAlign
from .arguments import SkippedPositionsArguments
from .checkpoints import last_complete_checkpoint, make_resumable
from .length_sorted_sampler import EpochOfBatches, LengthSortedSampler, row_lengths
from .losses import Predictions, labeled_columns, labeled_cross_entropy, sequence_weights, unpadded_tokens
from .skip_collator import probe_first_batch

if TYPE_CHECKING:
    from trl import SFTTrainer as _Trainer
else:
    _Trainer = object

_HAS_FUSED_HEAD = hasattr(sft_trainer, "add_fused_lm_head")  # not in TRL 1.14
# Above this size the logits of the labeled positions are left to TRL's tiled head, which is slower on a CPU but
# bounded.
_LARGEST_LOGITS_IN_BYTES = 2**30


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite; the last checkpoint is untouched."""


class LongContextTrainerMixin(_Trainer):
    """Placed in front of [`~trl.SFTTrainer`] by [`ContinualPretrainingTrainer`], [`SkipAlignTrainer`],
    [`LongSFTTrainer`].

    * Before training, the live inverse frequencies must equal those which the config would give after a reload
      ([`verify_context`]): what is saved is what ran.
    * On a CPU the loss asks the model for logits at the labeled positions only (`logits_to_keep`) instead of TRL's
      fused head, a GPU kernel whose CPU fallback scores every position in large tiles. Value and gradient are the
      same. On other devices TRL's head is used as it is.
    * With skipped positions, a token before a skip must change the model's output after it, on the user's own model,
      backend and rows ([`assert_cross_skip_attention`]); packed dialogues must not change each other, with or without
      skips.
    * With `loss_weighting="sequence"` every sequence counts the same ([`sequence_weights`]), also packed, accumulated
      and over several processes; with `length_sorted_batches=True` a step gets rows of similar lengths
      ([`LengthSortedSampler`]).
    * Training stops at the first loss that is NaN or infinite, naming the step.
    """

    _total_train_tokens: int  # TRL's

    def _check_before_training(self) -> None:
        model = self.accelerator.unwrap_model(self.model)
        verify_context(model=model)
        self._check_loss_weighting()
        if getattr(self.args, "length_sorted_batches", False):
            row_lengths(self.train_dataset)  # refuses a stream, for which no sampler would ever be made
        if isinstance(self.args, SkippedPositionsArguments):
            probe_first_batch(self)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """See [`~transformers.Trainer.train`]; verifies the RoPE of the live model first."""
        self._check_before_training()
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_complete_checkpoint(self.args.output_dir) or "") or True
        if isinstance(resume_from_checkpoint, str):
            make_resumable(resume_from_checkpoint)
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_NAME))
            last = self.args.max_steps if self.args.max_steps > 0 else state.max_steps
            sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
            if 0 < last <= state.global_step and not sharded:
                return self._take_finished(resume_from_checkpoint, state)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _take_finished(self, checkpoint: str, state: TrainerState) -> TrainOutput:
        """Take the weights of a run's last step; on a stream the Trainer itself would train one step more."""
        self._load_from_checkpoint(checkpoint)
        self.state = state
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        return TrainOutput(state.global_step, losses[-1] if losses else float("nan"), {})

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """See [`~trl.SFTTrainer.compute_loss`]; raises [`NonFiniteLossError`] where that would continue with NaN."""
        weighted = self.model.training and self._weighs_sequences()
        lean = self._takes_lean_loss(inputs)
        if return_outputs or not (lean or weighted):
            before = self._total_train_tokens
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            self._require_finite(result[0] if return_outputs else result)
            if self.model.training and "labels" in inputs:
                self._total_train_tokens = before + self._tokens_read(inputs, inputs["labels"])
                self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
            return result
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        weights = None
        if weighted:
            weights, sequences = sequence_weights(labels, inputs)
            num_items_in_batch = sequences if num_items_in_batch is None else num_items_in_batch
        if lean or not _HAS_FUSED_HEAD:
            columns = labeled_columns(labels)
            outputs = model(**inputs, use_cache=False, logits_to_keep=columns)
            loss, found = labeled_cross_entropy(outputs.logits, labels, columns, num_items_in_batch, weights)
        else:
            assert weights is not None
            outputs = model(**inputs, labels=labels, use_cache=False, fused_lm_head=True)
            loss = -(outputs.log_probs * weights[:, 1:]).sum() / torch.as_tensor(num_items_in_batch).clamp(min=1)
            found = Predictions(outputs.label_mask.sum(), outputs.is_top1.sum(), outputs.entropy.detach().sum())
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # DDP averages the gradients while num_items_in_batch counts the tokens of all processes.
            loss = loss * (self.accelerator.num_processes // self.get_tp_size())
        self._require_finite(loss)
        self._note_metrics(inputs, labels, found)
        return loss

    def _note_metrics(self, inputs: Mapping[str, Any], labels: torch.Tensor, found: Predictions) -> None:
        """Note what TRL notes where its own loss runs: means over the tokens of all processes, and tokens read."""
        mode = "train" if self.model.training else "eval"
        count, correct, entropy = (self.accelerator.gather_for_metrics(value).sum().item() for value in found)
        metrics = self._metrics[mode]
        metrics["entropy"].append(entropy / count if count else 0.0)
        metrics["mean_token_accuracy"].append(correct / count if count else 0.0)
        if mode == "train":
            self._total_train_tokens += self._tokens_read(inputs, labels)
        metrics["num_tokens"] = [self._total_train_tokens]

    def _tokens_read(self, inputs: Mapping[str, Any], labels: torch.Tensor) -> int:
        """Tokens of a batch in all processes; padding is none of them, though our collator masks none."""
        mask, ids = inputs.get("attention_mask"), inputs["input_ids"]
        if mask is None:
            tokens = torch.tensor(ids.size(1), device=ids.device)
        elif isinstance(self.data_collator, DataCollatorForSkipAlign):
            tokens = unpadded_tokens(ids, labels, self.data_collator.pad_token_id)
        else:
            tokens = mask.sum()
        return self.accelerator.gather_for_metrics(tokens).sum().item() // getattr(self, "_tp_size", 1)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """See [`~transformers.Trainer.get_batch_samples`]; with `loss_weighting="sequence"` the number of items is
        that of the sequences with a loss in all accumulation steps and processes.
        """
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if num_items is None or not self._weighs_sequences():
            return batches, num_items
        counts = [sequence_weights(batch["labels"], batch)[1] for batch in batches]
        sequences = torch.stack(counts).sum().to(device)
        if self.args.average_tokens_across_devices:
            sequences = self.accelerator.gather(sequences).sum()
        return batches, sequences

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler | None:
        args = self.args
        if not getattr(args, "length_sorted_batches", False):
            return super()._get_train_sampler(train_dataset)
        lengths = row_lengths(self.train_dataset if train_dataset is None else train_dataset)
        step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        seed = args.seed if args.data_seed is None else args.data_seed
        sampler = LengthSortedSampler(lengths, step, seed=seed)
        self.pop_callback(EpochOfBatches)
        self.add_callback(EpochOfBatches(sampler))
        return sampler

    def _weighs_sequences(self) -> bool:
        return getattr(self.args, "loss_weighting", "token") == "sequence"

    def _check_loss_weighting(self) -> None:
        if not self._weighs_sequences():
            return
        parallel = getattr(self.accelerator, "parallelism_config", None)
        for refused, what, remedy in (
            (self.compute_loss_func is not None, "a compute_loss_func", "leave one of the two out"),
            (getattr(self, "aux_loss_enabled", False), "a router loss", "set model.config.output_router_logits=False"),
            (
                parallel is not None and (parallel.cp_enabled or parallel.sp_enabled),
                "context or sequence parallelism, which cuts sequences apart",
                "use data parallelism",
            ),
        ):
            if refused:
                raise ValueError(f"loss_weighting='sequence' does not go with {what}: {remedy}.")

    def _takes_lean_loss(self, inputs: dict[str, Any]) -> bool:
        labels = inputs.get("labels")
        plain = self.compute_loss_func is None and self.label_smoother is None and self.args.loss_type == "nll"
        if not plain or labels is None or labels.device.type != "cpu" or getattr(self, "aux_loss_enabled", False):
            return False
        if "shift_labels" in inputs:
            return False
        vocabulary = self.model.config.get_text_config().vocab_size
        return labeled_columns(labels).numel() * labels.shape[0] * vocabulary * 4 <= _LARGEST_LOGITS_IN_BYTES

    def _require_finite(self, loss: torch.Tensor) -> None:
        if not torch.isfinite(loss).all():
            step = self.state.global_step + 1
            raise NonFiniteLossError(
                f"The loss became {loss.detach().mean().item()} at step {step} of {self.args.output_dir}. The last "
                "checkpoint there is untouched. Lower learning_rate or max_grad_norm, or check the data around that "
                "step, and run again."
            )
