"""A compiled price list: seconds of a step from what the engine counts, with two faces.

Everything that depends on token counts alone (matrix products, experts, collectives, the head) is a
table over whole numbers; attention is a few coefficients. The scalar face serves the engine, the
array face the search and the breakdown; both use + − × ÷ max and tables in the same order, so they
agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.perf.shape import StepShape

Array = NDArray[np.float64]
Shapes = dict[str, NDArray[Any]]
"""Columns named as in the `steps` table, each shaped (steps, ranks)."""

VECTOR_FROM = 48
VECTOR_PLAIN_FROM = 1024
"""Steps from which the array face is quicker than the scalar one: in general, and for one rank,
one stage and one kind of attention."""


@dataclass(frozen=True, slots=True)
class AttentionPrice:
    """Seconds of one kind of attention in one stage, all its layers together."""

    cap: int
    """Which capped sum it attends to; -1 = the whole context."""
    context_s: float
    sequence_s: float
    decode_launch_s: float
    pair_s: float
    cached_key_s: float
    key_s: float
    prefill_launch_s: float


@dataclass(frozen=True, slots=True)
class StageTables:
    """The price list of one pipeline stage. Tables are indexed by whole numbers of tokens."""

    linear: Array
    """By a rank's tokens: weight matrices outside the experts, norms."""
    head: Array
    """By a rank's sampled tokens: the language-model head."""
    experts: Array
    """By the tokens of all ranks."""
    collective: Array
    """By the tokens of the fullest rank."""
    host_s: float
    attention: tuple[AttentionPrice, ...]
    lists: tuple[list[float], list[float], list[float], list[float]] = field(init=False)

    def __post_init__(self) -> None:
        shared = self.collective + self.host_s
        rest = self.experts[: len(shared)] + shared
        made = (self.linear, self.head, rest, shared)
        object.__setattr__(self, "lists", tuple(t.tolist() for t in made))

    def local_s(self, shape: StepShape) -> float:
        """Seconds of one rank before the experts and collectives."""
        n, p = shape.decodes, shape.prefill_tokens
        linear, head, _, _ = self.lists
        total = linear[n + p] + head[shape.sampled]
        for a in self.attention:
            if n:
                context = shape.context_tokens if a.cap < 0 else shape.capped_tokens[a.cap]
                total += context * a.context_s + n * a.sequence_s + a.decode_launch_s
            if p:
                pairs = shape.prefill_pairs if a.cap < 0 else shape.capped_pairs[a.cap]
                keys = shape.prefill_kv_tokens
                work = pairs * a.pair_s + (keys - p) * a.cached_key_s
                read = keys * a.key_s
                total += (work if work > read else read) + a.prefill_launch_s
        return total

    def attention_array(self, s: Shapes) -> Array:
        """Seconds of attention, for arrays of shapes."""
        n, p = s["decodes"], s["prefill_tokens"]
        total = np.zeros(n.shape)
        for decode, prefill in self._attention_terms(s):
            total = total + np.where(n > 0, decode, 0.0) + np.where(p > 0, prefill, 0.0)
        return total

    def _attention_terms(self, s: Shapes) -> list[tuple[Array, Array]]:
        n, p, keys = s["decodes"], s["prefill_tokens"], s["prefill_kv_tokens"]
        terms = []
        for a in self.attention:
            context = s["context_tokens"] if a.cap < 0 else s[f"capped_{a.cap + 1}"]
            pairs = s["prefill_pairs"] if a.cap < 0 else s[f"capped_pairs_{a.cap + 1}"]
            decode = context * a.context_s + n * a.sequence_s + a.decode_launch_s
            work = pairs * a.pair_s + (keys - p) * a.cached_key_s
            terms.append((decode, np.maximum(work, keys * a.key_s) + a.prefill_launch_s))
        return terms

    def local_array(self, s: Shapes) -> Array:
        """The array face of `local_s`, in the same order of operations."""
        n, p = s["decodes"], s["prefill_tokens"]
        total: Array = self.linear[n + p] + self.head[s["sampled"]]
        for decode, prefill in self._attention_terms(s):
            total = np.where(n > 0, total + decode, total)
            total = np.where(p > 0, total + prefill, total)
        return total


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

    def price_run(self, shapes: Sequence[StepShape], n: int) -> list[float]:
        """Seconds of each of `n` successive steps in which every sequence decodes one token."""

    def breakdown(self, shapes: Shapes) -> dict[str, Array]:
        """The derived cause columns of the `steps` table for arrays of single steps."""


@dataclass(frozen=True, slots=True)
class TableTimer:
    """The `StepTimer` of stages that are price lists."""

    caps: tuple[int, ...]
    tables: tuple[StageTables, ...]

    @property
    def stages(self) -> int:
        return len(self.tables)

    def price(self, shapes: Sequence[StepShape]) -> float:
        """Seconds of one step: the slowest rank's own part, then what all do together."""
        if len(shapes) == 1 and len(self.tables) == 1:
            shape, stage = shapes[0], self.tables[0]
            return stage.local_s(shape) + stage.lists[2][shape.decodes + shape.prefill_tokens]
        total = 0.0
        for seconds in self.price_stages(shapes):  # `sum` would compensate rounding
            total += seconds
        return total

    def price_stages(self, shapes: Sequence[StepShape]) -> list[float]:
        """Seconds in each stage."""
        if len(shapes) == 1:
            tokens = shapes[0].tokens
            return [s.local_s(shapes[0]) + s.lists[2][tokens] for s in self.tables]
        counts = [s.tokens for s in shapes]
        total, fullest = sum(counts), max(counts)
        return [
            max([stage.local_s(s) for s in shapes])
            + (float(stage.experts[total]) + stage.lists[3][fullest])
            for stage in self.tables
        ]

    def price_run(self, shapes: Sequence[StepShape], n: int) -> list[float]:
        """Seconds of each step of a run of decodes."""
        one = len(shapes) == 1 and len(self.tables) == 1
        plain = one and len(self.tables[0].attention) == 1 and shapes[0].decodes > 0
        if n >= (VECTOR_PLAIN_FROM if plain else VECTOR_FROM):
            return self.seconds(run_of(shapes, n)).tolist()  # type: ignore[no-any-return]
        if plain:
            return self._price_plain_run(shapes[0], n)
        seconds = []
        ahead = [_copy(s) for s in shapes]
        for _ in range(n):
            seconds.append(self.price(ahead))
            for shape in ahead:
                _advance(shape)
        return seconds

    def _price_plain_run(self, shape: StepShape, n: int) -> list[float]:
        """One rank, one stage, one kind of attention: the engine's commonest run."""
        stage, d = self.tables[0], shape.decodes
        a = stage.attention[0]
        fixed = stage.lists[0][d] + stage.lists[1][shape.sampled]
        rest, sequence, launch, per_context = (
            stage.lists[2][d],
            d * a.sequence_s,
            a.decode_launch_s,
            a.context_s,
        )
        if a.cap < 0:
            context, growth = shape.context_tokens, d
        else:
            context, growth = shape.capped_tokens[a.cap], shape.below[a.cap]
        contexts = range(context, context + growth * n, growth) if growth else [context] * n
        return [fixed + (c * per_context + sequence + launch) + rest for c in contexts]

    def seconds(self, s: Shapes) -> Array:
        """The array face of `price`: seconds of each row, shaped (steps,)."""
        tokens = s["decodes"] + s["prefill_tokens"]
        total, fullest = tokens.sum(axis=1), tokens.max(axis=1)
        out: Array = np.zeros(len(total))
        for i, stage in enumerate(self.tables):
            shared = stage.collective[fullest] + stage.host_s
            once = stage.local_array(s).max(axis=1) + (stage.experts[total] + shared)
            out = once if i == 0 else out + once
        return out

    def breakdown(self, s: Shapes) -> dict[str, Array]:
        """Seconds by cause, each column shaped (steps, ranks)."""
        out = self._causes(s)
        alone = {k: v if "prefill" not in k else np.zeros_like(v) for k, v in s.items()}
        alone |= {f"capped_pairs_{i}": np.zeros_like(s["decodes"]) for i in (1, 2)}
        alone["sampled"] = s["decodes"]
        priced = self._causes(alone)
        any_decodes = np.broadcast_to((s["decodes"].sum(axis=1) > 0)[:, None], s["decodes"].shape)
        whole = sum(priced.values(), np.zeros(s["decodes"].shape))
        out["decode_alone_s"] = np.where(any_decodes, whole, 0.0)
        out["decode_alone_collective_s"] = np.where(any_decodes, priced["collective_s"], 0.0)
        return out

    def _causes(self, s: Shapes) -> dict[str, Array]:
        tokens = s["decodes"] + s["prefill_tokens"]
        total, fullest = tokens.sum(axis=1), tokens.max(axis=1)
        zero: Array = np.zeros(tokens.shape)
        out = dict.fromkeys(
            ("linear_s", "attention_s", "experts_s", "collective_s", "host_s", "rank_wait_s"), zero
        )
        for stage in self.tables:
            linear = stage.linear[tokens] + stage.head[s["sampled"]]
            attention = stage.attention_array(s)
            local = stage.local_array(s)
            out["linear_s"] = out["linear_s"] + linear
            out["attention_s"] = out["attention_s"] + attention
            out["experts_s"] = out["experts_s"] + stage.experts[total][:, None]
            out["collective_s"] = out["collective_s"] + stage.collective[fullest][:, None]
            out["host_s"] = out["host_s"] + stage.host_s
            out["rank_wait_s"] = out["rank_wait_s"] + (local.max(axis=1)[:, None] - local)
        return {k: np.broadcast_to(v, tokens.shape) for k, v in out.items()}


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
    names = ("prefill_tokens", "prefill_pairs", "prefill_kv_tokens")
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
