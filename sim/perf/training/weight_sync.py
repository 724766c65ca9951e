"""Seconds to bring a trainer's new weights to the engines that roll out.

T = gather + bytes on the busiest wire ÷ its rate + tensors · overhead + quantising + loading. Which
wire is busiest depends on who sends to whom; rates are those of the topology's routes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from sim.catalog.gpu import Gpu
from sim.catalog.model import GroupedAttention, Layer, Model, MoeFfn, NoFfn
from sim.errors import ScenarioError
from sim.network.topology import Topology
from sim.perf.efficiency import efficiency_of
from sim.settings import settings

Seconds = Annotated[float, Field(ge=0)]


@settings
class WeightSync:
    """How weights move from trainer to engines."""

    by: Literal["sender", "striped", "relay"] = "striped"
    """`sender`: one device sends everything to every engine, one after the other. `striped`: all
    trainer devices send a part each to every engine. `relay`: a chain through the engines, piece by
    piece, so that each sends once (broadcast)."""
    bytes_per_param: Annotated[float, Field(gt=0)] = 2.0
    """What is sent: 2 in bf16, 1 + scales in FP8."""
    quantise: Literal["none", "sender", "receiver"] = "none"
    """Who turns 16-bit weights into the engines' format: the sender (fewer bytes sent), or every
    engine (16 bit sent)."""
    per_tensor_s: Seconds = 30e-6
    """Host time per tensor: name, metadata, launch, copy into place. Fitted to one published sync:
    NeMo-RL's documentation, Qwen3-30B-A3B in bf16 on H100, 0.74 to 1.00 s for 18,867 tensors."""
    quantise_tensor_s: Seconds = 130e-6
    """More host time per tensor that is quantised: the same model in FP8, 2.9 to 4.0 s."""
    wire_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Achieved part of the wires' bandwidth. assumed: large messages by NCCL or RDMA."""
    pieces: Annotated[int, Field(ge=1)] = 64
    """Pieces that a relay cuts the weights into."""
    reload_s: Seconds = 0.2
    """Pausing, flushing and resuming an engine: what is left of NeMo-RL's Qwen3-4B, 0.21 to 0.34 s,
    which has few tensors and few bytes."""


@dataclass(frozen=True, slots=True)
class SyncTime:
    """Seconds of one synchronisation, by part."""

    gather_s: float
    wire_s: float
    tensors_s: float
    quantise_s: float
    reload_s: float

    @property
    def seconds(self) -> float:
        """One part behind the other."""
        parts = (self.gather_s, self.wire_s, self.tensors_s, self.quantise_s, self.reload_s)
        return sum(parts)


def sync_s(
    sync: WeightSync,
    gpu: Gpu,
    topology: Topology,
    *,
    params: float,
    tensors: int,
    senders: tuple[int, ...],
    engines: tuple[tuple[int, ...], ...],
    gathered_params: float = 0.0,
) -> SyncTime:
    """One synchronisation of `params` in `tensors` from devices `senders` to `engines`, each the
    devices of one.

    `gathered_params` are first all-gathered by each sender (trainer shards that no sender holds
    whole). Every engine device receives its share; wires carry what `by` says.
    """
    if not senders or not engines:
        raise ScenarioError(
            f"weight sync: {len(senders)} senders and {len(engines)} engines; name 1 or more each"
        )
    sent = 2.0 if sync.quantise == "receiver" else sync.bytes_per_param
    rate = _rate(sync, topology, senders, engines)
    inside = _rate(sync, topology, senders[:1], (senders[-1:],))
    return SyncTime(
        gather_s=gathered_params * 2.0 / inside if len(senders) > 1 else 0.0,
        wire_s=wire_bytes(sync, params * sent, len(senders), engines) / rate,
        tensors_s=tensors * sync.per_tensor_s,
        quantise_s=_quantise_s(sync, gpu, params, tensors, len(senders), len(engines[0])),
        reload_s=sync.reload_s,
    )


def _quantise_s(
    sync: WeightSync, gpu: Gpu, params: float, tensors: int, senders: int, width: int
) -> float:
    """16 bit read and the engines' format written, a share on each device that does it, and the
    host's time per tensor."""
    if sync.quantise == "none":
        return 0.0
    makers = width if sync.quantise == "receiver" else 1 if sync.by == "sender" else senders
    moved = (2.0 + sync.bytes_per_param) * params / makers
    rate = gpu.hbm_bytes_per_s * efficiency_of(gpu).hbm
    return moved / rate + tensors * sync.quantise_tensor_s


def wire_bytes(
    sync: WeightSync, nbytes: float, senders: int, engines: tuple[tuple[int, ...], ...]
) -> float:
    """Bytes on the busiest device's link.

    sender: n·W out of the one. striped: n·W/senders out of each, or W/devices into each receiver.
    relay: every device passes on its share of W, W/devices, and the chain of n fills in n − 1
    pieces: W/devices · (1 + (n − 1)/pieces); the source puts W out once, over its senders.
    """
    n, width = len(engines), min(len(e) for e in engines)
    if sync.by == "sender":
        return n * nbytes
    if sync.by == "striped":
        return max(n * nbytes / senders, nbytes / width)
    share = nbytes / min(senders, width)
    return share * (1.0 + (n - 1) / sync.pieces)


def _rate(
    sync: WeightSync,
    topology: Topology,
    senders: tuple[int, ...],
    engines: tuple[tuple[int, ...], ...],
) -> float:
    """Of the slowest route used, as far as it is reached."""
    rates = [topology.route(s, e[0]).bytes_per_s for s in senders[:1] for e in engines]
    return min(rates) * sync.wire_fraction


def tensor_count(model: Model) -> int:
    """Tensors of a published checkpoint (Hugging Face names): matrices, biases and norms of every
    layer, every expert's matrices apart, embedding, head and last norm."""
    layers = sum(n * _tensors(x) for x, n in model.layer_counts.items())
    return layers + (1 if model.tied_embeddings else 2) + 1


def _tensors(layer: Layer) -> int:
    a, ffn = layer.attention, layer.ffn
    count = 4
    if isinstance(a, GroupedAttention):
        count += 3 * a.qkv_bias + a.o_bias + 2 * a.qk_norm + a.sinks
    else:
        count += 3
    if isinstance(ffn, NoFfn):
        return count + 1
    each = 2 + ffn.gated
    if not isinstance(ffn, MoeFfn):
        return count + 2 + each * (1 + ffn.bias)
    shared = each if ffn.shared_width else 0
    return count + 2 + ffn.experts * each * (1 + ffn.bias) + shared + 1 + ffn.router_bias
