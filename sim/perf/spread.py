"""A layout worked out for a model: which device of an engine holds and computes what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.catalog.model import (
    GroupedAttention,
    LatentAttention,
    Layer,
    Model,
    MoeFfn,
    SparseLatentAttention,
)
from sim.errors import ScenarioError

Sharing = Literal["hop_b", "exposed", "ring", "all_gather"]
"""How devices that share a sequence's KV by position exchange: partial results, overlapped over the
sequences of the batch or exposed; or keys and values of prompts, round a ring beside attention or
gathered before it."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How an engine's devices divide a model.

    Devices are numbered stage by stage, in a stage rank by rank, in a rank by groups that share
    heads: `device = ((stage · ranks + rank) · kv_parallel + part) · attention_tp + position`.
    Feed-forward devices of their own come behind all of those.
    """

    text: str
    """How people write it: `TP4`, `DP8·EP8`."""
    ranks: int
    """Attention data-parallel ranks that step together (1 = none)."""
    stages: int
    """Pipeline stages."""
    attention_tp: int
    """Devices that share the heads of one rank."""
    ffn_tp: int
    """Devices that share a dense feed-forward layer (the others hold a copy)."""
    expert_parallel: int
    """Devices over which the routed experts are dealt."""
    expert_tp: int
    """Devices that share one expert."""
    kv_parallel: int = 1
    """Groups of `attention_tp` devices that share the KV cache of a sequence by position."""
    token_parallel: int = 1
    """Groups of a rank's devices that share the tokens of a step (context parallelism)."""
    sharing: Sharing = "hop_b"
    """How the `kv_parallel` groups exchange."""
    output_parallel: int = 1
    """Groups of `attention_tp` devices that share the output projection and the head (Helix: all
    of `kv_parallel`); the others hold copies."""
    append_tokens: int = 0
    """New tokens that one KV group takes before the next one's turn; 0 = one group holds all."""
    sequence_parallel: bool = False
    """Whether norms run on 1/`attention_tp` of the tokens each (Megatron-LM)."""
    node_limit: int | None = None
    """Most scale-up domains that one token is dispatched to; None = any."""
    ffn_devices: int = 0
    """Devices that do nothing but feed-forward layers, beside those of attention."""
    micro_batches: int = 1
    """Parts of a step that attention and feed-forward devices work on in turns."""

    @property
    def rank_width(self) -> int:
        """Devices of one rank in one stage."""
        return self.attention_tp * self.kv_parallel

    @property
    def stage_devices(self) -> int:
        """Devices of attention in one stage."""
        return self.ranks * self.rank_width

    @property
    def devices(self) -> int:
        """GPUs of one engine."""
        return self.stages * self.stage_devices + self.ffn_devices

    @property
    def head_tp(self) -> int:
        """Devices that share the language-model head and the embedding of a rank."""
        return self.attention_tp * self.output_parallel

    @property
    def sums_over_rank(self) -> bool:
        """Whether a rank's devices each hold another part of the output projection and of dense
        feed-forward layers; if not, its KV groups are copies of one another there."""
        return self.output_parallel == self.kv_parallel

    def rank_devices(self, stage: int, rank: int) -> range:
        """Positions (within the engine) of the devices of one rank in one stage."""
        first = (stage * self.ranks + rank) * self.rank_width
        return range(first, first + self.rank_width)

    def ffn_positions(self) -> range:
        """Positions of the devices that do feed-forward layers only."""
        return range(self.stages * self.stage_devices, self.devices)

    def stage_layers(self, model: Model) -> tuple[tuple[Layer, ...], ...]:
        """The layers of every stage, as even as they go, the earlier stages taking the rest."""
        share, rest = divmod(len(model.layers), self.stages)
        out, first = [], 0
        for stage in range(self.stages):
            count = share + (stage < rest)
            out.append(model.layers[first : first + count])
            first += count
        return tuple(out)


def kv_heads_per_device(attention: GroupedAttention | LatentAttention, tp: int) -> int:
    """KV heads that one of `tp` devices holds; a latent is one head, copied to every device."""
    if isinstance(attention, LatentAttention):
        return 1
    return max(1, -(-attention.kv_heads // tp))


@dataclass(frozen=True, slots=True)
class Words:
    """What a layout's settings are called, for refusals."""

    tp: str = "tp"
    output: str = "kvp·tpa"
    ffn_tp: str = "tp"
    experts: str = "ep"
    expert_tp: str = "tp"


def check_division(model: Model, spread: Spread, words: Words | None = None) -> None:
    """Refuse a layout that does not divide the model, saying what would."""
    named = words or Words(experts="dp·tp" if spread.ranks > 1 else "ep")
    if spread.stages > len(model.layers):
        raise ScenarioError(
            f"layout: pp={spread.stages} is more stages than {model.name} has layers "
            f"({len(model.layers)}); write pp <= {len(model.layers)}"
        )
    for layer in model.layer_counts:
        heads = layer.attention.q_heads
        _divides(model, "query heads", heads, named.tp, spread.attention_tp)
        _divides(model, "query heads", heads, named.output, spread.head_tp)
        if isinstance(layer.attention, GroupedAttention):
            kv_heads, tp = layer.attention.kv_heads, spread.attention_tp
            if kv_heads % tp and tp % kv_heads:
                _divides(model, "KV heads", kv_heads, named.tp, tp)
        if isinstance(layer.ffn, MoeFfn):
            experts, width = layer.ffn.experts, layer.ffn.width
            _divides(model, "experts", experts, named.experts, spread.expert_parallel)
            _divides(model, "expert width", width, named.expert_tp, spread.expert_tp)
        else:
            _divides(model, "feed-forward width", layer.ffn.width, named.ffn_tp, spread.ffn_tp)


def _divides(model: Model, what: str, amount: int, setting: str, parts: int) -> None:
    if amount % parts:
        fits = [n for n in range(1, min(amount, 1024) + 1) if amount % n == 0]
        near = sorted(fits, key=lambda n: (abs(n - parts), n))[:3]
        raise ScenarioError(
            f"layout: {setting}={parts} does not divide the {amount} {what} of {model.name}; "
            f"try {setting} = {', '.join(map(str, sorted(near)))}"
        )


def kv_bound(model: Model) -> int:
    """Most devices that a sequence's KV can be divided over by heads: the fewest KV heads of any
    layer that has some, 1 for a latent."""
    found = [
        layer.attention.kv_heads if isinstance(layer.attention, GroupedAttention) else 1
        for layer in model.layer_counts
        if keeps_kv(layer)
    ]
    return min(found, default=1)


def keeps_kv(layer: Layer) -> bool:
    """Whether a layer has a KV cache that grows, and can be shared by position."""
    kinds = (GroupedAttention, LatentAttention, SparseLatentAttention)
    return isinstance(layer.attention, kinds)
