"""What follows the pipeline: reducing gradients, the optimiser, gathering weights; and ZeRO."""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.gpu import Gpu
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.memory import ADAM_BYTES, WEIGHT_BYTES
from sim.perf.training.recipe import Offload, Recipe
from sim.perf.training.sizes import Params
from sim.perf.training.wires import TrainingWires

UPDATE_BYTES = 46.0
"""Per parameter, the kernels of Megatron-LM's mixed-precision optimiser: gradient norm (4),
clipping (8), fused Adam (16 read, 12 written), copy to 16-bit weights (4 + 2). assumed: that code
from memory."""
WIDEN_BYTES = 14.0
"""Per parameter of fp16 gradients: copy to 32 bit (2 + 4), unscale and look for overflow (8)."""


@dataclass(frozen=True, slots=True)
class Exchanges:
    """Seconds of data-parallel traffic of one device, alone on the wires."""

    gradients_s: float
    """Reduced once a step, or for every micro-batch (`zero: 3`)."""
    weights_s: float
    """Gathered once a step, or for the forward and again for the backward pass of every micro-batch
    (`zero: 3`: both counted)."""


def zero_traffic(params: float, stage: int) -> float:
    """Elements that a device sends a step: 2·N for stages 0 to 2, 3·N for stage 3, for many
    replicas (arXiv 1910.02054, section 7)."""
    return (3.0 if stage == 3 else 2.0) * params


def exchanges(
    wires: TrainingWires, recipe: Recipe, held: Params, trained: Params, layers: int
) -> Exchanges:
    """Of one stage's device: `held` parameters of `layers` layers, `trained` of them with
    gradients. Sharded weights are gathered, and their gradients reduced, layer by layer (FSDP,
    arXiv 2304.11277); what is exchanged once a step goes in one piece."""
    both = (
        (wires.dp, held.dense, trained.dense),
        (wires.expert_dp, held.experts, trained.experts),
    )
    pieces = layers if recipe.zero == 3 else 1
    reduced = gathered = 0.0
    for among, have, train in both:
        if among.group.size == 1 or not have:
            continue
        gradients = recipe.gradient_bytes * train / pieces
        if train and recipe.zero == 0:
            reduced += float(among.all_reduce_s(gradients))
        elif train:
            reduced += pieces * float(among.reduce_scatter_s(gradients))
        if recipe.zero == 3:
            passes = recipe.forwards + recipe.trains
            gathered += passes * pieces * float(among.all_gather_s(WEIGHT_BYTES * have / pieces))
        elif recipe.zero and train:
            gathered += float(among.all_gather_s(WEIGHT_BYTES * train))
    return Exchanges(reduced, gathered)


def exposed_s(seconds: float, overlap: float, window_s: float) -> float:
    """What is left of `seconds` of traffic of which a part may hide in a window of compute."""
    return seconds - min(overlap * seconds, window_s)


def optimizer_s(
    gpu: Gpu, hbm_bytes_per_s: float, recipe: Recipe, layout: TrainingLayout, trained: Params
) -> float:
    """Seconds of Adam's update: bound by memory.

    On the GPU `UPDATE_BYTES` per parameter, and `WIDEN_BYTES` where gradients come in 16 bit.
    Offloaded: gradients out and weights in over PCIe, the update in host memory, one behind the
    other.
    """
    mine = trained.total
    if recipe.zero >= 1:
        mine = trained.dense / (layout.dp * layout.cp) + trained.experts / layout.expert_dp
    g = recipe.gradient_bytes
    if recipe.offload is None:
        moved = UPDATE_BYTES + (WIDEN_BYTES if g == 2 else 0.0)
        return mine * moved / hbm_bytes_per_s
    pcie = gpu.pcie_bytes_per_s * recipe.offload.pcie_fraction
    out, back = mine * g / pcie, mine * WEIGHT_BYTES / pcie
    moved = 2 * ADAM_BYTES + g + WEIGHT_BYTES
    return out + mine * moved / recipe.offload.host_bytes_per_s + back


def interleaved_update_s(
    params: float, cpu_params_per_s: float, pcie_bytes_per_s: float, gpu_share: float
) -> float:
    """Update with a part of the offloaded states brought to the GPU: max(n_c/U_c, n_g·24/B), with
    12 bytes per parameter in and out over PCIe (Deep Optimizer States, arXiv 2410.21316)."""
    on_cpu = (1.0 - gpu_share) * params / cpu_params_per_s
    return max(on_cpu, gpu_share * params * 2 * ADAM_BYTES / pcie_bytes_per_s)


def best_gpu_share(cpu_params_per_s: float, pcie_bytes_per_s: float) -> float:
    """The share at which both sides of `interleaved_update_s` take as long."""
    cpu, gpu = 1.0 / cpu_params_per_s, 2 * ADAM_BYTES / pcie_bytes_per_s
    return cpu / (cpu + gpu)


def streamed_s(gpu: Gpu, offload: Offload, held: Params, sharers: int = 1) -> float:
    """Seconds for weights of host memory to come in for one pass; `sharers` devices bring a part
    each and exchange it over NVLink (DistZO2, arXiv 2507.03211)."""
    rate = gpu.pcie_bytes_per_s * offload.pcie_fraction * sharers
    return WEIGHT_BYTES * held.total / rate
