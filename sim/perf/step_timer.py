"""Seconds of a step from what the engine counts: the price lists of all stages put together.

Everything that depends on token counts alone (matrix products, experts, collectives, the head) is a
table over whole numbers; attention is a few coefficients. See `sim.perf.price_list`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim.perf.price_list import Array, HostTables, Shapes, StageTables
from sim.perf.shape import StepShape

VECTOR_FROM = 48
VECTOR_PLAIN_FROM = 64
"""Steps from which the array face is quicker than the scalar one: in general, and for one rank,
one stage and one kind of attention."""

Run: TypeAlias = "list[float] | Array"
"""Seconds of each step of a run; an array is whose asked for it."""


class StepTimer(Protocol):
    """Prices the steps of one engine."""

    @property
    def caps(self) -> tuple[int, ...]:
        """Limits of attended context for which shapes must carry capped sums."""

    @property
    def stages(self) -> int:
        """Pipeline stages of a pass."""

    def price(self, shapes: Sequence[StepShape]) -> float:
        """Seconds of one step; one shape a rank."""

    def price_stages(self, shapes: Sequence[StepShape]) -> list[float]:
        """Seconds of one pass in each stage."""

    def price_run(self, shapes: Sequence[StepShape], n: int) -> Run:
        """Seconds of each of `n` successive steps in which every sequence decodes one token."""

    def breakdown(self, shapes: Shapes) -> dict[str, Array]:
        """The derived cause columns of the `steps` table for arrays of single steps."""


@dataclass(frozen=True, slots=True)
class TableTimer:
    """The `StepTimer` of stages that are price lists. The host adds to the first stage."""

    caps: tuple[int, ...]
    tables: tuple[StageTables, ...]
    host: HostTables
    levels: tuple[TableTimer, ...] = ()
    """Where expert loads are drawn anew every `epoch_steps`: equally likely price lists, of which
    one holds in an epoch (`sim.perf.epochs`). This one is their mean."""
    epoch_steps: int = 0

    @property
    def stages(self) -> int:
        return len(self.tables)

    def price(self, shapes: Sequence[StepShape]) -> float:
        """Seconds of one step: the slowest rank's own part, then what all do together."""
        stage = self.tables[0]
        if len(shapes) == 1 and len(self.tables) == 1 and stage.streams is None:
            shape = shapes[0]
            n = shape.decodes
            gpu_s = stage.local_s(shape) + stage.lists[2][n + shape.prefill_tokens]
            return self.host.step_s(gpu_s, n + shape.prefills)
        total = 0.0
        for seconds in self.price_stages(shapes):  # `sum` would compensate rounding
            total += seconds
        return total

    def price_stages(self, shapes: Sequence[StepShape]) -> list[float]:
        """Seconds in each stage."""
        if len(shapes) == 1:
            tokens = shapes[0].tokens
            out = [
                s.local_s(shapes[0]) + s.lists[2][tokens]
                if s.streams is None
                else s.together_s(list(shapes), tokens, tokens)
                for s in self.tables
            ]
        else:
            counts = [s.tokens for s in shapes]
            total, fullest = sum(counts), max(counts)
            out = [
                max([stage.local_s(s) for s in shapes])
                + (float(stage.experts[total]) + stage.lists[3][fullest])
                if stage.streams is None
                else stage.together_s(list(shapes), total, fullest)
                for stage in self.tables
            ]
        out[0] = self.host.step_s(out[0], max([s.decodes + s.prefills for s in shapes]))
        return out

    def price_run(self, shapes: Sequence[StepShape], n: int) -> Run:
        """Seconds of each step of a run of decodes."""
        stage = self.tables[0]
        one = len(shapes) == 1 and len(self.tables) == 1
        simple = stage.streams is None and stage.exchange is None
        if one and simple and len(stage.attention) == 1 and shapes[0].decodes > 0:
            return self._price_plain_run(shapes[0], n)
        if n >= VECTOR_FROM:
            return self.seconds(run_of(shapes, n))
        seconds = []
        ahead = [_copy(s) for s in shapes]
        for _ in range(n):
            seconds.append(self.price(ahead))
            for shape in ahead:
                _advance(shape)
        return seconds

    def _price_plain_run(self, shape: StepShape, n: int) -> Run:
        """One rank, one stage, one kind of attention: the engine's commonest run."""
        stage, d = self.tables[0], shape.decodes
        a = stage.attention[0]
        fixed = stage.lists[0][d] + stage.lists[1][shape.sampled]
        rest = stage.lists[2][d]
        floor, near, near_key, far, far_key = [column[d] for column in a.decode_lists]
        exposed, loop = self.host.lists[0][d], self.host.lists[1][d]
        if a.cap < 0:
            context, growth = shape.context_tokens, d
        else:
            context, growth = shape.capped_tokens[a.cap], shape.below[a.cap]
        if n >= VECTOR_PLAIN_FROM:
            keys = context + growth * np.arange(n)
            steps = np.minimum(near + keys * near_key, far + keys * far_key)
            whole: Array = np.maximum(fixed + np.maximum(steps, floor) + rest + exposed, loop)
            return whole
        contexts = range(context, context + growth * n, growth) if growth else [context] * n
        out = []
        for c in contexts:
            attention = near + c * near_key
            ramped = far + c * far_key
            if ramped < attention:
                attention = ramped
            if attention < floor:
                attention = floor
            seconds = fixed + attention + rest + exposed
            out.append(seconds if seconds > loop else loop)
        return out

    def seconds(self, s: Shapes) -> Array:
        """The array face of `price`: seconds of each row, shaped (steps,)."""
        tokens = s["decodes"] + s["prefill_tokens"]
        total, fullest = tokens.sum(axis=1), tokens.max(axis=1)
        sequences = (s["decodes"] + s["prefills"]).max(axis=1)
        out: Array = np.zeros(len(total))
        for i, stage in enumerate(self.tables):
            once = _stage_seconds(stage, s, total, fullest)
            out = self.host.step_array(once, sequences) if i == 0 else out + once
        return out

    def breakdown(self, s: Shapes) -> dict[str, Array]:
        """Seconds by cause, each column shaped (steps, ranks). `decode_alone_s` is the GPU work of
        the step without its prompts, with the host time of the whole step."""
        out = self._causes(s)
        host = out["host_s"]
        alone = {k: v if "prefill" not in k else np.zeros_like(v) for k, v in s.items()}
        alone |= {f"capped_pairs_{i}": np.zeros_like(s["decodes"]) for i in (1, 2)}
        alone["sampled"] = s["decodes"]
        priced = self._causes(alone) | {"host_s": host}
        any_decodes = np.broadcast_to((s["decodes"].sum(axis=1) > 0)[:, None], s["decodes"].shape)
        whole = sum(priced.values(), np.zeros(s["decodes"].shape))
        out["decode_alone_s"] = np.where(any_decodes, whole, 0.0)
        out["decode_alone_collective_s"] = np.where(any_decodes, priced["collective_s"], 0.0)
        return out

    def _causes(self, s: Shapes) -> dict[str, Array]:
        tokens = s["decodes"] + s["prefill_tokens"]
        total, fullest = tokens.sum(axis=1), tokens.max(axis=1)
        zero: Array = np.zeros(tokens.shape)
        names = ("linear_s", "attention_s", "experts_s", "collective_s", "host_s", "rank_wait_s")
        out = dict.fromkeys(names, zero)
        for i, stage in enumerate(self.tables):
            causes = _stage_causes(stage, s, total, fullest)
            for name, seconds in causes.items():
                out[name] = out[name] + seconds
            if i == 0:
                gpu_s = _stage_seconds(stage, s, total, fullest)
                sequences = (s["decodes"] + s["prefills"]).max(axis=1)
                out["host_s"] = zero + (self.host.step_array(gpu_s, sequences) - gpu_s)[:, None]
        return {k: np.broadcast_to(v, tokens.shape) for k, v in out.items()}


def _stage_seconds(
    stage: StageTables, s: Shapes, total: NDArray[np.int64], fullest: NDArray[np.int64]
) -> Array:
    if stage.streams is not None:
        return stage.together_array(s, total, fullest)
    once: Array = stage.local_array(s).max(axis=1)
    return once + (stage.experts[total] + stage.collective[fullest])


def _stage_causes(
    stage: StageTables, s: Shapes, total: NDArray[np.int64], fullest: NDArray[np.int64]
) -> dict[str, Array]:
    """Seconds by cause of one stage. Where work overlaps, what the step saves is taken from the
    causes in proportion to their length, so that they add up to the step."""
    tokens = s["decodes"] + s["prefill_tokens"]
    linear = stage.linear[tokens] + stage.head[s["sampled"]]
    attention = stage.attention_array(s)
    local = linear + attention
    out = {
        "linear_s": linear,
        "attention_s": attention,
        "experts_s": stage.experts[total][:, None] + np.zeros(tokens.shape),
        "collective_s": stage.collective[fullest][:, None] + np.zeros(tokens.shape),
        "rank_wait_s": local.max(axis=1)[:, None] - local,
    }
    if stage.streams is None:
        return out
    apart = sum(out.values(), np.zeros(tokens.shape))
    joined = stage.together_array(s, total, fullest)[:, None]
    scale = np.divide(joined, apart, out=np.zeros(tokens.shape), where=apart > 0)
    return {k: v * scale for k, v in out.items()}


def run_of(shapes: Sequence[StepShape], n: int) -> Shapes:
    """The shapes of `n` successive decode steps as columns shaped (n, ranks)."""
    i = np.arange(n)[:, None]

    def column(values: list[int], growth: list[int] | None = None) -> NDArray[np.int64]:
        first = np.broadcast_to(np.array(values), (n, len(values)))
        return first if growth is None else first + i * np.array(growth)

    decodes = [s.decodes for s in shapes]
    none = column([0] * len(shapes))
    out = {
        "decodes": column(decodes),
        "context_tokens": column([s.context_tokens for s in shapes], decodes),
        "sampled": column([s.sampled for s in shapes]),
    }
    for c in (0, 1):
        out[f"capped_{c + 1}"] = column(
            [s.capped_tokens[c] for s in shapes], [s.below[c] for s in shapes]
        )
    names = ("prefills", "prefill_tokens", "prefill_pairs", "prefill_kv_tokens")
    return out | dict.fromkeys((*names, "capped_pairs_1", "capped_pairs_2"), none)


def _copy(s: StepShape) -> StepShape:
    return StepShape(
        decodes=s.decodes,
        context_tokens=s.context_tokens,
        sampled=s.sampled,
        capped_tokens=list(s.capped_tokens),
        below=list(s.below),
    )


def _advance(s: StepShape) -> None:
    s.context_tokens += s.decodes
    for c, growth in enumerate(s.below):
        s.capped_tokens[c] += growth
