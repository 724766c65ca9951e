"""How a trainer computes: what is kept, recomputed, fused, overlapped, sharded and trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sim.settings import settings

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Recompute = Literal["none", "selective", "full"]
Method = Literal["full", "lora", "zeroth_order"]


@settings
class Offload:
    """Optimiser states and the update in host memory (ZeRO-Offload, arXiv 2101.06840)."""

    host_bytes_per_s: Annotated[float, Field(gt=0)] = 25e9
    """Host memory bandwidth for one GPU's share of the update. assumed: half of the 410 GB/s of two
    sockets with eight channels of DDR4-3200, for eight GPUs."""
    pcie_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Achieved part of PCIe bandwidth. assumed: large pinned copies, packet overhead off."""
    weights: bool = False
    """Weights too are kept in host memory and streamed in layer by layer, once for every pass
    (ZeRO-Infinity, arXiv 2104.07857; ZO2, arXiv 2503.12668)."""


@settings
class Swap:
    """Activations in host memory instead of recomputed, as far as they go (`swap.py`)."""

    host_bytes: Annotated[float, Field(gt=0)] = 200e9
    """Host memory for one GPU's activations. assumed: eight GPUs with 2 TB, a fifth kept free."""
    pcie_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Achieved part of PCIe bandwidth. assumed: large pinned copies."""


@settings
class Recipe:
    """A trainer's software. The defaults are those of a present-day Megatron-Core run in bf16."""

    method: Method = "full"
    """What is trained: all weights, low-rank adapters beside frozen ones (LoRA, arXiv 2106.09685),
    or all weights without a backward pass (two perturbed forwards, MeZO, arXiv 2305.17333)."""
    lora_rank: Annotated[int, Field(ge=1)] = 16
    """Rank of the adapters on every matrix outside routed experts, embedding and head."""
    recompute: Recompute = "none"
    """Which activations are recomputed in the backward pass: none, the attention core (scores,
    softmax, dropout; arXiv 2205.05198), or whole layers."""
    swap: Swap | None = None
    """With `recompute: full` and one stage: layers' activations are swapped to host memory where
    that hides, and only the rest is recomputed."""
    attention: Literal["flash", "unfused"] = "flash"
    """One kernel for attention, or matrix products, softmax and dropout through memory."""
    dropout: bool = False
    """Dropout on attention scores (where unfused), attention and feed-forward outputs."""
    rotary: bool = True
    """Rotary positions on queries and keys, in a pass of their own."""
    gradient_bytes: Literal[2, 4] = 4
    """Bytes per gradient that is accumulated and reduced."""
    fused_accumulation: bool = True
    """Whether products of weight gradients add to the accumulated ones themselves (Megatron-LM's
    gradient accumulation fusion)."""
    tp_overlap: Share = 0.0
    """Part of the tensor-parallel exchanges that products hide."""
    p2p_overlap: bool = False
    """Whether a stage computes while it sends to the next one."""
    scatter_gather: bool = True
    """Whether tensor-parallel devices send 1/tp of an activation each (arXiv 2104.04473, 4.1)."""
    zero: Literal[0, 1, 2, 3] = 0
    """What replicas shard: nothing, optimiser states, gradients too, weights too (arXiv
    1910.02054)."""
    gradient_overlap: Share = 0.0
    """Part of the gradients' reduction that may hide behind the last backward pass (`zero: 3`:
    behind every micro-batch's)."""
    weight_overlap: Share = 0.0
    """Part of the gathering of updated weights that may hide behind the first forward pass (`zero:
    3`: behind every micro-batch's passes)."""
    offload: Offload | None = None
    """Where optimiser states are; None: on the GPU."""
    reserve_bytes: Annotated[float, Field(ge=0)] = 4e9
    """CUDA context, communication buffers, fragmentation. assumed: 4 GB per GPU."""

    @property
    def forwards(self) -> int:
        """Forward passes of a step, recomputation apart."""
        return 2 if self.method == "zeroth_order" else 1

    @property
    def trains(self) -> bool:
        """Whether there is a backward pass."""
        return self.method != "zeroth_order"


MEGATRON_2021 = Recipe(
    recompute="full",
    attention="unfused",
    dropout=True,
    rotary=False,
    gradient_bytes=2,
    fused_accumulation=False,
)
"""Megatron-LM as it was for arXiv 2104.04473: fp16 with gradients in fp16, dropout, softmax fused
with scaling and mask but attention through memory (section 4.2), whole layers recomputed, gradients
reduced after the last backward pass."""
