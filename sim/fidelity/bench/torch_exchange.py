"""Collectives of NCCL among the GPUs of one node, one process each."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from sim.errors import ScenarioError
from sim.fidelity.bench import Exchange
from sim.fidelity.bench.torch_device import captured

SAMPLES, WARM_UP = 7, 3
MANY_BYTES = 2**26
"""From here on a graph holds 4 calls, below 32."""


def exchange(gpus: int, calls: Sequence[Exchange]) -> list[float]:
    """Seconds of each, as the slowest GPU sees it; median over samples."""
    import torch.multiprocessing as multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seconds.json"
        arguments = (gpus, _free_port(), list(calls), str(path))
        failures = multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException
        try:
            multiprocessing.spawn(_rank, args=arguments, nprocs=gpus, join=True)
        except failures as problem:
            why = str(problem).strip().splitlines()[-1]
            raise ScenarioError(
                f"NCCL among {gpus} GPUs failed ({why}); CUDA_VISIBLE_DEVICES=0 measures one GPU "
                "alone"
            ) from problem
        seconds: list[float] = json.loads(path.read_text())
    return seconds


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def _rank(rank: int, gpus: int, port: int, calls: Sequence[Exchange], path: str) -> None:
    """One GPU's part."""
    import torch
    import torch.distributed as distributed

    torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=gpus
    )
    seconds = [_seconds(torch, distributed, gpus, call) for call in calls]
    distributed.destroy_process_group()
    if rank == 0:
        Path(path).write_text(json.dumps(seconds))


def _seconds(torch: Any, distributed: Any, gpus: int, call: Exchange) -> float:
    """A CUDA graph of many calls: launched one by one, short collectives would wait for the
    host. The capture minds this thread alone, since NCCL's watchdog asks for events meanwhile."""
    run = _operation(torch, distributed, gpus, call)
    count = 4 if 2 * call.elements >= MANY_BYTES else 32
    for _ in range(WARM_UP):
        run()
    graph = captured(torch, lambda i: run(), count, errors="thread_local")
    samples = []
    for i in range(WARM_UP + SAMPLES):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        distributed.barrier()
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        slowest = torch.tensor(begin.elapsed_time(end) / 1e3 / count, device="cuda")
        distributed.all_reduce(slowest, op=distributed.ReduceOp.MAX)
        if i >= WARM_UP:
            samples.append(float(slowest))
    return median(samples)


def _operation(torch: Any, distributed: Any, gpus: int, call: Exchange) -> Callable[[], object]:
    """`elements` counts the buffer that is reduced, the gathered one, or all that is sent."""
    whole = torch.zeros(-(-call.elements // gpus) * gpus, device="cuda", dtype=torch.float16)
    part = torch.zeros(len(whole) // gpus, device="cuda", dtype=torch.float16)
    if call.operation == "all_reduce":
        return lambda: distributed.all_reduce(whole)
    if call.operation == "all_gather":
        return lambda: distributed.all_gather_into_tensor(whole, part)
    if call.operation == "reduce_scatter":
        return lambda: distributed.reduce_scatter_tensor(part, whole)
    received = torch.zeros_like(whole)
    return lambda: distributed.all_to_all_single(received, whole)
