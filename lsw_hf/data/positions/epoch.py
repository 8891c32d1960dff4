"""The epoch that positions are drawn for: the one that was set, or else that of the data loader in use."""

import sys
import warnings
from multiprocessing.context import get_spawning_popen
from typing import Any

import torch
from torch.utils.data import get_worker_info

_FOLLOW = -1


class PositionEpoch:
    """An epoch that a collator can read in the main process and in workers.

    Until [`~PositionEpoch.set`] is called it follows the data loader that accelerate is iterating: `Trainer` tells
    that loader its epoch before every pass, also after a resume, and worker processes start after that. A loader
    that accelerate does not know has epoch 0 throughout, and so has one whose workers outlive an epoch; the latter
    warns.

    Positions of an evaluation are those of epoch 0 whenever it runs, so that its losses can be compared.
    """

    def __init__(self) -> None:
        # In shared memory, so that workers which live through several epochs see an epoch that is set as well.
        self._fixed = torch.full((), _FOLLOW, dtype=torch.int64).share_memory_()
        self._sent: int | None = None

    def set(self, epoch: int) -> None:
        """Stays at `epoch`, from 0, from now on, also in workers that are already running."""
        if epoch < 0:
            raise ValueError(f"epoch must be at least 0, got {epoch}.")
        self._fixed.fill_(epoch)

    def now(self) -> int:
        """Return the epoch, from 0."""
        fixed = int(self._fixed)
        if fixed != _FOLLOW:
            return fixed
        if self._sent is not None and get_worker_info() is not None:
            return self._sent
        return _epoch_of_active_loader()

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker knows nothing of the loader that it serves, so the epoch travels with the collator.
        sent = self.now() if get_spawning_popen() is not None else self._sent
        return {"_fixed": self._fixed, "_sent": sent}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A no-op in a worker started by torch, which receives the shared memory itself; a plain pickle is a copy.
        self._fixed.share_memory_()


def _epoch_of_active_loader() -> int:
    # Looked up, not imported: where accelerate was never imported there is no loader of its own.
    accelerate = sys.modules.get("accelerate.state")
    loader = accelerate.GradientState().active_dataloader if accelerate is not None else None
    if getattr(loader, "persistent_workers", False):
        warnings.warn(
            "Persistent workers do not learn that a new epoch begins, so every epoch repeats the positions of the "
            "first. Pass callbacks=[EpochOfPositions(collator)] to the trainer, or leave "
            "dataloader_persistent_workers off.",
            stacklevel=3,
        )
        return 0
    return getattr(loader, "iteration", 0)
