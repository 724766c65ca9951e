"""A layout worked out for a model: which device of an engine holds and computes what."""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.model import GroupedAttention, LatentAttention, Layer, Model, MoeFfn
from sim.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class Spread:
    """How an engine's devices divide a model.

    Devices are numbered stage by stage, in a stage rank by rank, in a rank by groups that share
    heads: `device = ((stage · ranks + rank) · kv_parallel + part) · attention_tp + position`.
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
    """Groups of a rank's devices that share the tokens of a prompt (context parallelism)."""

    @property
    def rank_width(self) -> int:
        """Devices of one rank in one stage."""
        return self.attention_tp * self.kv_parallel

    @property
    def stage_devices(self) -> int:
        return self.ranks * self.rank_width

    @property
    def devices(self) -> int:
        """GPUs of one engine."""
        return self.stages * self.stage_devices

    def rank_devices(self, stage: int, rank: int) -> range:
        """Positions (within the engine) of the devices of one rank in one stage."""
        first = (stage * self.ranks + rank) * self.rank_width
        return range(first, first + self.rank_width)

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


def check_division(model: Model, spread: Spread) -> None:
    """Refuse a layout that does not divide the model, saying what would."""
    if spread.stages > len(model.layers):
        raise ScenarioError(
            f"layout: pp={spread.stages} is more stages than {model.name} has layers "
            f"({len(model.layers)}); write pp <= {len(model.layers)}"
        )
    for layer in model.layer_counts:
        _divides(model, "query heads", layer.attention.q_heads, "tp", spread.attention_tp)
        if isinstance(layer.attention, GroupedAttention):
            heads, tp = layer.attention.kv_heads, spread.attention_tp
            if heads % tp and tp % heads:
                _divides(model, "KV heads", heads, "tp", tp)
        if isinstance(layer.ffn, MoeFfn):
            setting = "dp·tp" if spread.ranks > 1 else "ep"
            _divides(model, "experts", layer.ffn.experts, setting, spread.expert_parallel)
            _divides(model, "expert width", layer.ffn.width, "tp", spread.expert_tp)
        else:
            _divides(model, "feed-forward width", layer.ffn.width, "tp", spread.ffn_tp)


def _divides(model: Model, what: str, amount: int, setting: str, parts: int) -> None:
    if amount % parts:
        fits = [n for n in range(1, min(amount, 1024) + 1) if amount % n == 0]
        near = sorted(fits, key=lambda n: (abs(n - parts), n))[:3]
        raise ScenarioError(
            f"layout: {setting}={parts} does not divide the {amount} {what} of {model.name}; "
            f"try {setting} = {', '.join(map(str, sorted(near)))}"
        )
