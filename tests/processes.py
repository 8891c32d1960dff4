"""Processes of tests: one that has ended, and two that form a group."""

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock


def dead_process() -> int:
    """Return the number of a process of this machine that no longer runs."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def in_two_processes(work: Callable[[], Any]) -> list[Any]:
    """Return what each of two forked processes, in one gloo group as soon as a trainer asks for it, made of `work`."""
    import torch

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def run(rank: int) -> None:
        from accelerate.state import AcceleratorState

        torch.set_num_threads(1)
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        AcceleratorState._reset_state(reset_partial_state=True)
        queue.put((rank, work()))
        torch.distributed.destroy_process_group()

    with mock.patch.dict(os.environ, {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}):
        processes = [context.Process(target=run, args=(rank,)) for rank in range(2)]
        for process in processes:
            process.start()
    results = {}
    while len(results) < 2:
        if queue.empty() and any(process.exitcode for process in processes):
            break
        if not queue.empty():
            rank, result = queue.get()
            results[rank] = result
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    return [results[rank] for rank in range(2)]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
