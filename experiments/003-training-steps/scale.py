"""Seconds of this program for a loop's step: packing, planning, pricing a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import numpy as np

from sim.catalog.gpu import load_gpu
from sim.catalog.model import load_model
from sim.network.topology import load_topology
from sim.perf.training import Recipe, TrainingLayout, packed_batch, trainer

SAMPLES = 65_536


def scale() -> Iterator[str]:
    """Qwen3-235B-A22B as TP4·PP8·EP16, lengths log-normal with a mean of 2,800 tokens; the third
    step, when prices that steps share are known."""
    model, gpu = load_model("qwen3-235b-a22b"), load_gpu("h100")
    for dp, most in ((64, 33_280), (32, 33_280), (16, 33_280), (8, 33_280)):
        layout = TrainingLayout(
            tp=4, pp=8, dp=dp, ep=16, etp=1, sequence_parallel=True,
            stage_layers=(12, 12, 12, 12, 12, 12, 11, 11),
        )  # fmt: skip
        topology = load_topology("dgx_h100", nodes=layout.gpus // 8)
        made = trainer(model, gpu, topology, layout, Recipe(recompute="full", zero=1))
        for seed in range(3):
            drawn = np.random.default_rng(seed).lognormal(np.log(2500) - 0.5, 1.0, SAMPLES)
            lengths = np.minimum(drawn, 32_768).astype(int) + 300
            times = [perf_counter()]
            batch = packed_batch(lengths, most, dp)
            times.append(perf_counter())
            made.plan(batch, check=False)
            times.append(perf_counter())
            made.forward_s(batch)
            times.append(perf_counter())
        spent = " | ".join(f"{x:.3f}" for x in np.diff(times))
        yield f"| {SAMPLES}, {dp}, {most} | {len(batch.replicas[0])} | {spent} |"
