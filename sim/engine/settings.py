"""How one engine serves: limits and policies, named as vLLM's users know them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.engine.batchers import Batcher
from sim.engine.batchers.chunked_prefill import ChunkedPrefill
from sim.engine.orders import Order
from sim.engine.orders.fcfs import Fcfs
from sim.engine.preemptions import Preemption
from sim.engine.preemptions.recompute import Recompute
from sim.kvcache.evictions import Eviction
from sim.kvcache.evictions.lru import Lru
from sim.plugins import policy
from sim.settings import settings
from sim.units import PositiveInt


@settings
class EngineSettings:
    """Settings of every engine of a pool."""

    max_num_seqs: PositiveInt = 256
    """Most sequences that run at once, per rank."""
    max_num_batched_tokens: PositiveInt = 2048
    """Most tokens in one step, per rank."""
    max_model_len: PositiveInt | None = None
    """Longest sequence served; the model's context when left out."""
    block_size: PositiveInt = 16
    """Tokens per KV block."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of GPU memory that the engine may use."""
    enable_prefix_caching: bool = True
    """Share and keep prefix blocks where the workload names them."""
    batcher: Annotated[Batcher, policy("sim.engine.batchers")] = ChunkedPrefill()
    """Who takes part in a step."""
    order: Annotated[Order, policy("sim.engine.orders")] = Fcfs()
    """Who is next in the waiting line."""
    preemption: Annotated[Preemption, policy("sim.engine.preemptions")] = Recompute()
    """What happens when KV blocks run out."""
    eviction: Annotated[Eviction, policy("sim.kvcache.evictions")] = Lru()
    """Which unused prefix block goes first."""
