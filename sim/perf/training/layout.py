"""How a trainer's devices divide a model and a batch, and what must divide what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from sim.catalog.model import (
    GroupedAttention,
    Layer,
    Model,
    MoeFfn,
    NoAttention,
    NoFfn,
    SparseLatentAttention,
)
from sim.errors import ScenarioError
from sim.settings import settings

Count = Annotated[int, Field(ge=1)]
Schedule = Literal["gpipe", "1f1b", "interleaved", "zero_bubble"]
Vocabulary = Literal["ends", "stages", "interlaced"]


@settings
class TrainingLayout:
    """Degrees of parallelism of a trainer.

    Devices are numbered with tensor parallelism innermost, then context, data and pipeline
    parallelism, as Megatron-LM orders its ranks (`tp-cp-dp-pp`):
    `device = ((stage · dp + replica) · cp + part) · tp + position`.
    """

    tp: Count = 1
    """Tensor parallelism: devices that share every matrix (arXiv 1909.08053)."""
    pp: Count = 1
    """Pipeline stages."""
    dp: Count = 1
    """Data-parallel replicas."""
    cp: Count = 1
    """Context parallelism: devices that share the tokens of every sequence, keys and values going
    round a ring (arXiv 2310.01889)."""
    ep: Count = 1
    """Expert parallelism: groups that the routed experts are dealt to. Folded: its devices are
    taken from tp · cp · dp of a stage (arXiv 2504.14960)."""
    etp: Count | None = None
    """Devices that share one expert; as `tp` when left out."""
    sequence_parallel: bool = False
    """Norms and residuals on 1/tp of the tokens each (arXiv 2205.05198)."""
    schedule: Schedule = "1f1b"
    """Order of the micro-batches in the pipeline. `zero_bubble` is a bound: no stage ever idles
    but the slowest decides (arXiv 2401.10241)."""
    chunks: Count = 1
    """Model chunks per stage, for `interleaved` (v of arXiv 2104.04473)."""
    vocabulary: Vocabulary = "ends"
    """Embedding and head on the first and the last stage; or cut over all stages, as passes whose
    exchanges are hidden, or in step with each other (arXiv 2411.05288)."""
    stage_layers: tuple[Count, ...] | None = None
    """Layers of every stage; evenly when left out."""

    skipped: Annotated[int, Field(ge=0)] = 0
    """Stages that every micro-batch leaves out, in turn (SkipPipe, arXiv 2502.19913): quicker steps
    of another kind of training, whose convergence is not modelled."""

    @property
    def replica_gpus(self) -> int:
        """GPUs of one replica."""
        return self.tp * self.cp * self.pp

    @property
    def gpus(self) -> int:
        """GPUs of the whole trainer."""
        return self.replica_gpus * self.dp

    @property
    def stage_gpus(self) -> int:
        """GPUs that hold the same stage, replicas included."""
        return self.tp * self.cp * self.dp

    @property
    def expert_tp(self) -> int:
        """Devices that share one expert."""
        return self.tp if self.etp is None else self.etp

    @property
    def expert_dp(self) -> int:
        """Copies of every expert: what its gradients are summed over."""
        return self.stage_gpus // (self.ep * self.expert_tp)

    @property
    def dispatches(self) -> bool:
        """Whether tokens go to their experts; if not, experts are cut like any other layer."""
        return self.ep > 1 or self.expert_tp != self.tp

    @property
    def spreads_vocabulary(self) -> bool:
        """Whether every stage has a part of embedding and head."""
        return self.vocabulary != "ends"

    @property
    def share(self) -> int:
        """Devices over which norms and residuals of a token are divided."""
        return self.tp if self.sequence_parallel else 1

    @property
    def text(self) -> str:
        """As people write it: `TP8·PP8·DP24`."""
        parts = {"TP": self.tp, "CP": self.cp, "EP": self.ep, "PP": self.pp, "DP": self.dp}
        return "·".join(f"{k}{n}" for k, n in parts.items() if n > 1) or "one GPU"

    def layers_of(self, model: Model) -> tuple[tuple[tuple[Layer, ...], ...], ...]:
        """By stage and chunk: its layers, chunk c of stage i being the (c·pp + i)-th part."""
        if self.stage_layers is not None:
            cuts = [sum(self.stage_layers[:i]) for i in range(self.pp + 1)]
            return tuple((model.layers[a:b],) for a, b in pairwise(cuts))
        each = len(model.layers) // (self.pp * self.chunks)
        return tuple(
            tuple(
                model.layers[(c * self.pp + i) * each : (c * self.pp + i + 1) * each]
                for c in range(self.chunks)
            )
            for i in range(self.pp)
        )

    def check(self, model: Model) -> None:
        """Refuse what does not divide, or is not modelled, saying what would do."""
        self._check_itself()
        self._check_stages(model)
        for layer in model.layer_counts:
            self._check_layer(model, layer)

    def _check_itself(self) -> None:
        if self.chunks > 1 and self.schedule != "interleaved":
            raise ScenarioError(
                f"rl.trainer.layout: chunks={self.chunks} needs schedule 'interleaved', not "
                f"'{self.schedule}'; set it, or chunks = 1"
            )
        if self.schedule == "interleaved" and (self.pp == 1 or self.chunks == 1):
            raise ScenarioError(
                f"rl.trainer.layout: schedule 'interleaved' needs several stages and chunks, not "
                f"pp={self.pp} and chunks={self.chunks}; use '1f1b', or raise them to 2"
            )
        if self.skipped and (self.skipped >= self.pp or self.schedule != "1f1b"):
            raise ScenarioError(
                f"rl.trainer.layout: skipped={self.skipped} needs more stages than that and "
                f"schedule '1f1b', not pp={self.pp} and '{self.schedule}'; write 0, or change them"
            )
        if self.sequence_parallel and self.tp == 1:
            raise ScenarioError(
                "rl.trainer.layout: sequence_parallel=true divides tokens over tp=1 devices; "
                "set tp to 2 or more, or leave it out"
            )
        if self.vocabulary != "ends" and self.pp == 1:
            raise ScenarioError(
                f"rl.trainer.layout: vocabulary '{self.vocabulary}' has no effect with pp=1, where "
                "one stage has both ends; leave it out, or write pp 2 or more"
            )
        _divides("tp · cp · dp GPUs of a stage", self.stage_gpus, "ep · etp", self._expert_gpus)

    @property
    def _expert_gpus(self) -> int:
        return self.ep * self.expert_tp if self.dispatches else 1

    def _check_stages(self, model: Model) -> None:
        layers = len(model.layers)
        if self.stage_layers is None:
            _divides(f"layers of {model.name}", layers, "pp · chunks", self.pp * self.chunks)
            return
        if len(self.stage_layers) != self.pp or sum(self.stage_layers) != layers:
            raise ScenarioError(
                f"rl.trainer.layout: stage_layers={list(self.stage_layers)} are "
                f"{len(self.stage_layers)} stages of {sum(self.stage_layers)} layers in all, not "
                f"pp={self.pp} stages of the {layers} of {model.name}; write {self.pp} numbers "
                f"that add up to {layers}"
            )
        if self.chunks > 1:
            raise ScenarioError(
                f"rl.trainer.layout: stage_layers and chunks={self.chunks} exclude each other; "
                "leave one of them out"
            )

    def _check_layer(self, model: Model, layer: Layer) -> None:
        a, ffn, name = layer.attention, layer.ffn, model.name
        if isinstance(a, SparseLatentAttention):
            raise ScenarioError(
                f"rl.trainer: model {name} has sparse attention, whose training is not modelled; "
                "use a model with full attention"
            )
        if not isinstance(a, NoAttention):
            _divides(f"attention heads of {name}", a.q_heads, "tp", self.tp)
        if isinstance(a, GroupedAttention) and a.kv_heads % self.tp and self.tp % a.kv_heads:
            _divides(f"KV heads of {name}", a.kv_heads, "tp", self.tp)
        if isinstance(ffn, MoeFfn):
            _divides(f"experts of {name}", ffn.experts, "ep", self.ep)
            _divides(f"expert width of {name}", ffn.width, "etp", self.expert_tp)
        elif not isinstance(ffn, NoFfn):
            _divides(f"feed-forward width of {name}", ffn.width, "tp", self.tp)
        if any(isinstance(x.ffn, MoeFfn) for x in model.layer_counts):
            return
        if self.ep > 1:
            raise ScenarioError(
                f"rl.trainer.layout: ep={self.ep} divides experts and {name} has none; set ep = 1"
            )
        if self.etp is not None:
            raise ScenarioError(
                f"rl.trainer.layout: etp={self.etp} divides an expert and {name} has none; leave "
                "it out"
            )


def layers_by_speed(layers: int, speeds: Sequence[float]) -> tuple[int, ...]:
    """Layers of every stage, for `stage_layers`, so that the slowest stage takes as little time as
    whole layers let it, and none is empty: each in turn where it is done first (Holmes, arXiv
    2312.03549, section 3.3: in proportion to measured speeds)."""
    given = [1] * len(speeds)
    for _ in range(layers - len(speeds)):
        at = min(range(len(speeds)), key=lambda i: ((given[i] + 1) / speeds[i], i))
        given[at] += 1
    return tuple(given)


def _divides(what: str, amount: int, setting: str, parts: int) -> None:
    if amount % parts:
        fits = [n for n in range(1, min(amount, 1024) + 1) if amount % n == 0]
        near = sorted(sorted(fits, key=lambda n: (abs(n - parts), n))[:3])
        raise ScenarioError(
            f"rl.trainer.layout: {setting}={parts} does not divide the {amount} {what}; "
            f"try {setting} = {', '.join(map(str, near))}"
        )
