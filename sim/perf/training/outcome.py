"""What planning a training step gives."""

from __future__ import annotations

from dataclasses import dataclass

from sim.perf.training.layer_cost import Causes
from sim.perf.training.memory import TrainingMemory
from sim.perf.training.sizes import StepFlops


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One optimiser step of a trainer."""

    seconds: float
    pipeline_s: float
    """Forward and backward passes of all micro-batches, bubbles included."""
    bubble: float
    """Idle part of the busiest stage within the pipeline."""
    gradients_s: float
    """Exposed reduction of gradients, and of tied tables."""
    weights_s: float
    """Exposed gathering of weights, or streaming them from host memory."""
    optimizer_s: float
    causes: Causes
    """Seconds of the busiest stage within the pipeline by cause, sends and bubble among them."""
    tokens: int
    gpus: int
    flops: StepFlops
    peak_flops_per_s: float
    """Of one GPU, 16 bit."""
    memory: TrainingMemory

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Tokens trained on."""
        return self.tokens / self.seconds / self.gpus

    @property
    def flops_per_s_per_gpu(self) -> float:
        """Operations done per second, recomputation included: what Megatron-LM's papers print."""
        return self.flops.hardware / self.seconds / self.gpus

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation: without recomputation, over the peak (arXiv 2204.02311)."""
        return self.flops.model / self.seconds / self.gpus / self.peak_flops_per_s

    @property
    def hfu(self) -> float:
        """Hardware FLOPs utilisation: with recomputation."""
        return self.flops_per_s_per_gpu / self.peak_flops_per_s
