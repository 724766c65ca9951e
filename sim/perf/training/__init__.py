"""How long a training step takes, and whether it fits: the trainer's half of RL pipelines.

`trainer(model, gpu, topology, layout, recipe).plan(batch)` is a `TrainingStep`: seconds and their
parts, tokens/s/GPU, FLOP/s/GPU, MFU, memory. Closed forms of asynchronous loops are in
`asynchrony`, those of sending new weights in `weight_sync`. All pure; nothing here knows a clock.
"""

from __future__ import annotations

from sim.perf.training.batch import Batch, MicroBatch, even_batch, mini_batches, packed_batch
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.memory import TrainingMemory, training_memory
from sim.perf.training.outcome import TrainingStep
from sim.perf.training.recipe import MEGATRON_2021, Offload, Recipe, Swap
from sim.perf.training.sizes import StepFlops, step_flops
from sim.perf.training.step import Trainer, plan_step, trainer

__all__ = [
    "MEGATRON_2021",
    "Batch",
    "MicroBatch",
    "Offload",
    "Recipe",
    "StepFlops",
    "Swap",
    "Trainer",
    "TrainingLayout",
    "TrainingMemory",
    "TrainingStep",
    "even_batch",
    "mini_batches",
    "packed_batch",
    "plan_step",
    "step_flops",
    "trainer",
    "training_memory",
]
