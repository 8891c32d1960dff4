"""Positions in two real processes: equal rows, equal positions; shards keep tokens and positions together."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.experimental import context_parallel
from torch.utils.data import DataLoader, DistributedSampler
from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids

from lsw_hf.data.positions.collator import DataCollatorForSkipAlign

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

WORLD = 2


def rows() -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    result = []
    for index in range(23):
        ids = torch.randint(10, 90, (6 + index % 5,), generator=generator).tolist()
        result.append({"input_ids": ids, "labels": [-100, -100, -100, *ids[3:]]})
    return result


def collator(**changes) -> DataCollatorForSkipAlign:
    return DataCollatorForSkipAlign(
        **{"pad_token_id": 0, "context_length": 5_000, "skip_probability": 1.0, "seed": 4, **changes}
    )


def positions_by_row(loader: DataLoader) -> dict[tuple, list]:
    seen = {}
    for batch in loader:
        for ids, positions in zip(batch["input_ids"].tolist(), batch["position_ids"].tolist(), strict=True):
            length = len([token for token in ids if token])
            seen[tuple(ids[:length])] = positions[:length]
    return seen


def in_two_processes(function: Callable[[int], object], folder: Path) -> list:
    """Runs `function(rank)` in a gloo group of two processes and returns what each of them gathered."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def run(rank: int) -> None:
        dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=WORLD)
        try:
            queue.put((rank, function(rank)))
        finally:
            dist.destroy_process_group()

    processes = [context.Process(target=run, args=(rank,)) for rank in range(WORLD)]
    for process in processes:
        process.start()
    results = dict(queue.get() for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return [results[rank] for rank in range(WORLD)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_processes_give_the_positions_of_one(tmp_path, num_workers):
    data = rows()

    def positions_of(rank: int) -> list[dict]:
        sampler = DistributedSampler(data, num_replicas=dist.get_world_size(), rank=rank)
        loader = DataLoader(data, 3, sampler=sampler, collate_fn=collator(), num_workers=num_workers)
        epochs = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            loader.collate_fn.set_epoch(epoch)
            gathered: list = [None] * WORLD
            dist.all_gather_object(gathered, positions_by_row(loader))
            epochs.append(gathered[0] | gathered[1])
        return epochs

    one = DataLoader(data, 4, collate_fn=collator())
    expected = []
    for epoch in range(2):
        one.collate_fn.set_epoch(epoch)
        expected.append(positions_by_row(one))
    assert expected[0] != expected[1]
    assert in_two_processes(positions_of, tmp_path) == [expected, expected]


def test_context_parallel_shards_keep_tokens_and_positions_together(tmp_path):
    """Ring attention gives rank 0 the first and last quarter of every row, rank 1 the two in between."""
    batch = collator(pad_to_multiple_of=2 * WORLD)(rows()[:3])
    names = ("input_ids", "labels", "position_ids")
    length = batch["input_ids"].shape[1]
    quarters = torch.arange(length).chunk(4)
    expected = [torch.cat([quarters[0], quarters[3]]), torch.cat([quarters[1], quarters[2]])]

    def shard(rank: int) -> list:
        buffers = [batch[name].clone() for name in names]
        with context_parallel(init_device_mesh("cpu", (WORLD,)), buffers=buffers, buffer_seq_dims=[1, 1, 1]):
            return [buffer.tolist() for buffer in buffers]

    for own, columns in zip(in_two_processes(shard, tmp_path), expected, strict=True):
        assert own == [batch[name][:, columns].tolist() for name in names]


@pytest.mark.parametrize("world", [2, 4])
def test_ulysses_shards_gather_to_one_document_per_row(world):
    """Ulysses cuts rows into contiguous shards, drops the mask and gathers positions for the core attention, in which
    flash attention begins a document wherever the row's smallest position stands."""
    batch = collator(pad_to_multiple_of=world)(rows()[1:2])
    shards = [batch["position_ids"].chunk(world, dim=1)[rank] for rank in range(world)]
    gathered = torch.cat(shards, dim=1)
    assert torch.equal(gathered, batch["position_ids"])
    (boundaries, _), _ = prepare_fa_kwargs_from_position_ids(gathered)
    assert boundaries.tolist() == [0, gathered.shape[1]]
