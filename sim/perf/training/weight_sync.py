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
from sim.network.collectives import default_collectives
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
    pull: bool = False
    """`relay` only: the chain ends in host memory beside every engine, from which the engine takes
    its weights over PCIe when it likes (relay workers of Laminar, arXiv 2510.12633)."""
    pcie_fraction: Annotated[float, Field(ge=0.001, le=1)] = 0.8
    """Achieved part of PCIe bandwidth of a pull. assumed: large pinned copies."""
    sparse_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the parameters that is sent, those that changed in the engines' format; below 1 the
    new weights are compared with those sent before. Reinforcement learning changes 5 to 30 % of
    the 16-bit weights over a whole run (arXiv 2505.11711)."""
    index_bytes: Annotated[float, Field(ge=0, le=64)] = 4.0
    """Beside every parameter of a sparse sync: its place. assumed: a 32-bit number."""
    gather: Literal["whole", "tensors"] = "whole"
    """What senders gather first, if they do (`gathered_params`): all at once, or tensor by tensor,
    each a collective of all senders."""
    bytes_per_param: Annotated[float, Field(gt=0, le=8)] = 2.0
    """What is sent: 2 in bf16, 1 + scales in FP8."""
    quantise: Literal["none", "sender", "receiver"] = "none"
    """Who turns 16-bit weights into the engines' format: the sender (fewer bytes sent), or every
    engine (16 bit sent)."""
    per_tensor_s: Seconds = 30e-6
    """Host time per tensor: name, metadata, launch, copy into place. Fitted to one published sync:
    NeMo-RL's documentation, Qwen3-30B-A3B in bf16 on H100, 0.74 to 1.00 s for 18,867 tensors."""
    quantise_tensor_s: Seconds = 130e-6
    """More host time per tensor that is quantised: the same model in FP8, 2.9 to 4.0 s."""
    wire_fraction: Annotated[float, Field(ge=0.001, le=1)] = 0.8
    """Achieved part of the wires' bandwidth. assumed: large messages by NCCL or RDMA."""
    pieces: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """Pieces that a relay cuts the weights into."""
    reload_s: Seconds = 0.2
    """Pausing, flushing and resuming an engine: what is left of NeMo-RL's Qwen3-4B, 0.21 to 0.34 s,
    which has few tensors and few bytes."""

    def assumptions(self, *, colocated: bool = False) -> list[dict[str, str]]:
        """The figures above that are used and that the user left as they are."""
        rows = [("wire_fraction", "assumed: large messages by NCCL or RDMA", True)]
        rows += [("reload_s", "fitted: what is left of NeMo-RL's sync of Qwen3-4B", True)]
        apart, quantised = not colocated, self.quantise != "none"
        fit = "fitted: NeMo-RL's sync of Qwen3-30B-A3B on H100, in "
        rows += [("per_tensor_s", f"{fit}bf16", apart)]
        rows += [("quantise_tensor_s", f"{fit}FP8", apart and quantised)]
        rows += [("pcie_fraction", "assumed: large pinned copies", apart and self.pull)]
        rows += [("index_bytes", "assumed: a 32-bit number", apart and self.sparse_share < 1.0)]
        return [
            {"what": f"weight_sync.{name}", "value": f"{value:g}", "source": source}
            for name, source, used in rows
            if used and (value := getattr(self, name)) == getattr(WeightSync(), name)
        ]


@dataclass(frozen=True, slots=True)
class SyncTime:
    """Seconds of one synchronisation, by part."""

    gather_s: float
    wire_s: float
    tensors_s: float
    quantise_s: float
    reload_s: float
    compare_s: float = 0.0
    """Looking for what changed."""
    pull_s: float = 0.0
    """From host memory into an engine; engines do it when they like."""

    @property
    def seconds(self) -> float:
        """One part behind the other, until the last engine has its weights."""
        first = self.gather_s + self.compare_s + self.wire_s
        return first + self.tensors_s + self.quantise_s + self.pull_s + self.reload_s


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
    whole). Every engine device receives its share; wires carry what `by` says. The closed form of
    `sync_plan.plan_sync`, exact where engines are alike and away from the senders.
    """
    check_sync(sync, senders, engines)
    rate = _rate(sync, topology, senders, engines)
    width, nbytes = len(engines[0]), params * sent_bytes(sync)
    return SyncTime(
        gather_s=gather_s(sync, topology, senders, gathered_params, tensors),
        wire_s=wire_bytes(sync, nbytes, len(senders), engines) / rate,
        tensors_s=tensors * sync.per_tensor_s,
        quantise_s=quantise_s(sync, gpu, params, tensors, len(senders), width),
        reload_s=sync.reload_s,
        compare_s=compare_s(sync, gpu, params, len(senders)),
        pull_s=pull_s(sync, gpu, nbytes / width),
    )


def check_sync(
    sync: WeightSync, senders: tuple[int, ...], engines: tuple[tuple[int, ...], ...]
) -> None:
    """Refuse settings without a meaning."""
    if not senders or not engines:
        raise ScenarioError(
            f"weight sync: {len(senders)} senders and {len(engines)} engines; name 1 or more each"
        )
    if sync.pull and sync.by != "relay":
        raise ScenarioError(
            f"weight_sync: pull=true takes weights from relays and by='{sync.by}' has none; "
            "set by: relay, or leave pull out"
        )


def sent_bytes(sync: WeightSync) -> float:
    """Bytes on the wire per parameter of the model."""
    each = 2.0 if sync.quantise == "receiver" else sync.bytes_per_param
    sparse = sync.sparse_share < 1.0
    return sync.sparse_share * (each + sync.index_bytes * sparse)


def gather_s(
    sync: WeightSync, topology: Topology, senders: tuple[int, ...], params: float, tensors: int
) -> float:
    """Seconds for every sender to collect `params` in 16 bit from the others."""
    if len(senders) == 1 or not params:
        return 0.0
    if sync.gather == "tensors":
        among = default_collectives(topology.group(senders), "none")
        return tensors * float(among.all_gather_s(2.0 * params / tensors))
    return params * 2.0 / _rate(sync, topology, senders[:1], (senders[-1:],))


def compare_s(sync: WeightSync, gpu: Gpu, params: float, senders: int) -> float:
    """New and old weights read, 16 bit each, a share by every sender."""
    if sync.sparse_share == 1.0:
        return 0.0
    owners = 1 if sync.by == "sender" else senders
    return 4.0 * params / owners / (gpu.hbm_bytes_per_s * efficiency_of(gpu).hbm)


def pull_s(sync: WeightSync, gpu: Gpu, nbytes: float) -> float:
    """`nbytes` of one engine's device from host memory."""
    return nbytes / (gpu.pcie_bytes_per_s * sync.pcie_fraction) if sync.pull else 0.0


def quantise_s(
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
    relay: the source puts W out once, over its senders, and every device passes on its share,
    W/width, a piece behind the one before: W/min(senders, width) + (n − 1)·W/(width·pieces).
    """
    n, width = len(engines), min(len(e) for e in engines)
    if sync.by == "sender":
        return n * nbytes
    if sync.by == "striped":
        return max(n * nbytes / senders, nbytes / width)
    return nbytes / min(senders, width) + (n - 1) * nbytes / (width * sync.pieces)


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
