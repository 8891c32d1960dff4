"""What the three trainers share: a RoPE check before the start, a lean loss on CPU, a stop at a loss that is not a
number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..context.verification import verify_context
from .checkpoints import last_complete_checkpoint, make_resumable
from .losses import labelled_columns, labelled_cross_entropy
from .skipped_positions import probe_first_batch

if TYPE_CHECKING:
    from trl import SFTTrainer as _Trainer
else:
    _Trainer = object

# Above this size the logits of the labelled positions are left to TRL's tiled head, which is slower on a CPU but
# bounded.
_LARGEST_LOGITS_IN_BYTES = 2**30


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the last checkpoint is untouched."""


class LongContextTrainerMixin(_Trainer):
    """Placed in front of [`~trl.SFTTrainer`] by [`ContinualPretrainingTrainer`], [`SkipAlignTrainer`],
    [`LongSFTTrainer`].

    * Before training, the live inverse frequencies must equal those which the config would give after a reload
      ([`verify_context`]): what is saved is what ran.
    * On a CPU the loss asks the model for logits at the labelled positions only (`logits_to_keep`) instead of TRL's
      fused head, a GPU kernel whose CPU fallback scores every position in large tiles. Value and gradient are the
      same. On other devices TRL's head is used as it is.
    * With skipped positions, a token before a skip must change the model's output behind it, on the user's own model,
      backend and rows ([`assert_cross_skip_attention`]).
    * Training stops at the first loss that is NaN or infinite, naming the step.
    """

    def _check_before_training(self) -> None:
        model = self.accelerator.unwrap_model(self.model)
        verify_context(model=model)
        if getattr(self.args, "strategy", "none") != "none":
            probe_first_batch(self)
        self._labelled_correct, self._labelled_count = 0, 0

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """See [`~transformers.Trainer.train`]; verifies the RoPE of the live model first."""
        self._check_before_training()
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_complete_checkpoint(self.args.output_dir) or "") or True
        if isinstance(resume_from_checkpoint, str):
            make_resumable(resume_from_checkpoint)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """See [`~trl.SFTTrainer.compute_loss`]; raises [`NonFiniteLossError`] where that would go on with NaN."""
        if return_outputs or not self._takes_lean_loss(inputs):
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            self._require_finite(result[0] if return_outputs else result)
            return result
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        columns = labelled_columns(labels)
        outputs = model(**inputs, use_cache=False, logits_to_keep=columns)
        loss, correct, count = labelled_cross_entropy(outputs.logits, labels, columns, num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # DDP averages the gradients while num_items_in_batch counts the tokens of all processes.
            loss = loss * self.accelerator.num_processes
        self._require_finite(loss)
        self._labelled_correct += int(correct)
        self._labelled_count += int(count)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """See [`~trl.SFTTrainer.log`]; adds `mean_token_accuracy` of the labelled tokens where TRL's head did not
        run."""
        if getattr(self, "_labelled_count", 0) and "loss" in logs:
            logs["mean_token_accuracy"] = round(self._labelled_correct / self._labelled_count, 6)
            self._labelled_correct, self._labelled_count = 0, 0
        super().log(logs, start_time)

    def _takes_lean_loss(self, inputs: dict[str, Any]) -> bool:
        labels = inputs.get("labels")
        plain = self.compute_loss_func is None and self.label_smoother is None and self.args.loss_type == "nll"
        if not plain or labels is None or labels.device.type != "cpu" or getattr(self, "aux_loss_enabled", False):
            return False
        if "shift_labels" in inputs:
            return False
        vocabulary = self.model.config.get_text_config().vocab_size
        return labelled_columns(labels).numel() * labels.shape[0] * vocabulary * 4 <= _LARGEST_LOGITS_IN_BYTES

    def _require_finite(self, loss: torch.Tensor) -> None:
        if not torch.isfinite(loss).all():
            step = self.state.global_step + 1
            raise NonFiniteLossError(
                f"The loss became {loss.detach().mean().item()} at step {step} of {self.args.output_dir}. The last "
                "checkpoint there is untouched. Lower learning_rate or max_grad_norm, or check the data around that "
                "step, and run again."
            )
