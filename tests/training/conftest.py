"""Rows and models of the trainers' tests."""

import pytest
import torch


@pytest.fixture
def rows():
    """Six rows of odd lengths: an instruction (-100) and a response."""
    import datasets

    generator = torch.Generator().manual_seed(3)
    made = []
    for length in (13, 7, 21, 10, 17, 9):
        ids = torch.randint(4, 40, (length,), generator=generator).tolist()
        cut = length // 2
        made.append({"input_ids": ids, "labels": [-100] * cut + ids[cut:]})
    return datasets.Dataset.from_list(made)


@pytest.fixture
def arguments(tmp_path):
    """Makes training arguments of a class for a CPU: two short steps, no reports."""

    def make(config_class, **options):
        return config_class(
            **{
                "output_dir": str(tmp_path / "run"),
                "max_steps": 2,
                "per_device_train_batch_size": 2,
                "learning_rate": 1e-2,
                "bf16": False,
                "report_to": "none",
                "save_strategy": "no",
                "logging_steps": 1,
                "disable_tqdm": True,
                "dataloader_pin_memory": False,
                "use_cpu": True,
                **options,
            }
        )

    return make
