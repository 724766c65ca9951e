"""Seconds of a forward pass in which every decoding sequence brings several query tokens.

With n sequences of q tokens each, products, norms, head, experts and collectives are those of n · q
tokens: the tables have them (the experts' tables count how many experts so many tokens touch).
Attention reads a sequence's keys and values once, whatever q is, and scores every query:

    max(decode_s(n, Σ context), pairs · pair_s[n · q])      pairs = Σ (q · context − q (q − 1) / 2)

the first from the decode tables (what reading costs), the second the prefill kernels' seconds per
query-key pair (what arithmetic costs at that many queries). Kernels for a few queries compute on
latents without widening them, as decode kernels do (absorbed projections, DeepSeek-V2), which takes
`arithmetic` times the operations of a prefill pair.

Two faces, with the same operations in the same order: arrays for searches, and `Members` for the
engine (one step in plain floats, or a run of steps that differ in context alone).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.layer_work import attention_works
from sim.perf.price_list import Array, AttentionPrice, Shapes, StageTables
from sim.perf.speculation.members import Members
from sim.perf.step_timer import TableTimer
from sim.perf.streams import Parts
from sim.perf.task import PriceTask

CAUSES = ("linear_s", "attention_s", "experts_s", "collective_s", "rank_wait_s")


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes of one model."""

    timer: TableTimer
    arithmetic: tuple[tuple[float, ...], ...]
    """By stage and kind of attention: operations per query-key pair of a decode kernel over those
    of a prefill kernel."""

    @staticmethod
    def of(timer: TableTimer, task: PriceTask) -> Passes:
        """Of a compiled task."""
        layers = task.spread.stage_layers(task.model)
        found = []
        for stage, mine in zip(timer.tables, layers, strict=True):
            kinds = dict.fromkeys(w for one in Counter(mine) for w in attention_works(task, one))
            ratios = tuple(
                w.flops_per_context / w.flops_per_pair if w.flops_per_pair else 1.0 for w in kinds
            )
            count = len(stage.attention)
            found.append(ratios if len(ratios) == count else (1.0,) * count)
        return Passes(timer, tuple(found))

    @property
    def plain(self) -> bool:
        """Whether nothing overlaps or is exchanged, so that runs can be priced at once."""
        return all(s.streams is None and s.exchange is None for s in self.timer.tables)

    # ---- the engine's face

    def stage_s(self, i: int, ranks: Sequence[Members], queries: int, rows: int) -> Any:
        """Seconds of a stage whose decodes bring `queries` tokens each, of which `rows` go through
        the head; prompts as they are. Contexts count the keys that the last query of each attends
        to."""
        stage = self.timer.tables[i]
        total = fullest = 0
        local: Any = None
        for m in ranks:
            n = m.decodes
            tokens = n * queries + m.prefill_tokens
            total += tokens
            fullest = max(fullest, tokens)
            if stage.streams is None:
                mine = stage.lists[0][tokens] + stage.lists[1][n * rows + m.sampled]
                mine = mine + self._rank_attention_s(i, m, queries)
                local = mine if local is None else larger(local, mine)
        if stage.streams is not None:
            return self._joined_s(i, ranks, queries, rows, total, fullest)
        return local + (float(stage.experts[total]) + stage.lists[3][fullest])

    def _rank_attention_s(self, i: int, m: Members, queries: int) -> Any:
        n, prompts = m.decodes, m.prompts
        stage, decode, prefill = self.timer.tables[i], 0.0, 0.0
        for price, ratio in zip(stage.attention, self.arithmetic[i], strict=True):
            if n:
                decode = decode + _verified_s(price, n, m.contexts[price.cap + 1], queries, ratio)
            if prompts is not None:
                prefill = prefill + price.prefill_s(prompts.prefill_tokens, prompts)
        if stage.exchange is None:
            return decode + prefill
        return stage.exchange.seconds(decode, prefill, n * queries, prompts or _NO_PROMPTS)

    def _joined_s(
        self, i: int, ranks: Sequence[Members], queries: int, rows: int, total: int, fullest: int
    ) -> float:
        """Where work overlaps."""
        stage = self.timer.tables[i]
        head = [stage.lists[1][m.decodes * rows + m.sampled] for m in ranks]
        linear = [
            stage.lists[0][m.decodes * queries + m.prefill_tokens] + h
            for m, h in zip(ranks, head, strict=True)
        ]
        parts = Parts(
            linear=max(linear),
            attention=max([self._rank_attention_s(i, m, queries) for m in ranks]),
            experts=float(stage.experts[total]),
            collective=stage.lists[3][fullest],
            head=max(head),
            shared=0.0 if stage.shared is None else float(stage.shared[fullest]),
            tokens=fullest,
        )
        return float(stage.streams.joined(parts))  # type: ignore[union-attr]

    # ---- the face of searches

    def stage_array(self, i: int, s: Shapes, queries: int, rows: int) -> Array:
        """(steps,) of `stage_s`."""
        stage = self.timer.tables[i]
        tokens, head, linear, attention = self._local(i, s, queries, rows)
        total, fullest = tokens.sum(axis=1), tokens.max(axis=1)
        if stage.streams is not None:
            return _joined(stage, linear, attention, head, total, fullest)
        apart = stage.experts[total] + stage.collective[fullest]
        return np.asarray((linear + attention).max(axis=1) + apart)

    def causes(self, s: Shapes, queries: int, rows: int) -> dict[str, Array]:
        """Seconds by cause, each (steps, ranks), of all stages."""
        none = np.zeros(s["decodes"].shape)
        out = dict.fromkeys(CAUSES, none)
        for i in range(len(self.timer.tables)):
            mine = self._stage_causes(i, s, queries, rows)
            out = {k: out[k] + mine[k] for k in CAUSES}
        return out

    def _stage_causes(self, i: int, s: Shapes, queries: int, rows: int) -> dict[str, Array]:
        stage = self.timer.tables[i]
        tokens, head, linear, attention = self._local(i, s, queries, rows)
        total, fullest = tokens.sum(axis=1), tokens.max(axis=1)
        local, none = linear + attention, np.zeros(tokens.shape)
        out = {
            "linear_s": linear,
            "attention_s": attention,
            "experts_s": stage.experts[total][:, None] + none,
            "collective_s": stage.collective[fullest][:, None] + none,
            "rank_wait_s": local.max(axis=1)[:, None] - local,
        }
        if stage.streams is None:
            return out
        apart = sum(out.values(), none)
        joined = _joined(stage, linear, attention, head, total, fullest)[:, None]
        scale = np.divide(joined, apart, out=none.copy(), where=apart > 0)
        return {k: v * scale for k, v in out.items()}

    def _local(
        self, i: int, s: Shapes, queries: int, rows: int
    ) -> tuple[NDArray[Any], Array, Array, Array]:
        """(tokens, head, linear with the head, attention), each (steps, ranks)."""
        stage, n = self.timer.tables[i], s["decodes"]
        tokens = n * queries + s["prefill_tokens"]
        head = stage.head[n * rows + (s["sampled"] - n)]
        return tokens, head, stage.linear[tokens] + head, self._attention(i, s, queries)

    def _attention(self, i: int, s: Shapes, queries: int) -> Array:
        stage, n = self.timer.tables[i], s["decodes"]
        decode, prefill = np.zeros(n.shape), np.zeros(n.shape)
        for price, ratio in zip(stage.attention, self.arithmetic[i], strict=True):
            decode = decode + _verified(price, s, queries, ratio)
            prefill = prefill + price.prefill_array(s)
        if stage.exchange is None:
            return np.asarray(decode + prefill)
        return stage.exchange.array(decode, prefill, s | {"decodes": n * queries})


class _NoPrompts:
    """What an exchange asks of a step without prompts."""

    prefill_tokens = prefills = prefill_kv_tokens = 0


_NO_PROMPTS: Any = _NoPrompts()


def larger(a: Any, b: Any) -> Any:
    """The larger of two numbers, or of arrays element by element."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.maximum(a, b)
    return a if a > b else b


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two numbers, or of arrays element by element."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.minimum(a, b)
    return a if a < b else b


def _verified_s(price: AttentionPrice, n: int, context: Any, queries: int, ratio: float) -> Any:
    """Of n ≥ 1 decoding sequences: the longer of reading and scoring."""
    floor, near, near_key, far, far_key = price.decode_lists
    reading = smaller(near[n] + context * near_key[n], far[n] + context * far_key[n])
    reading = larger(reading, floor[n])
    if queries == 1:
        return reading
    pairs = queries * context - n * (queries * (queries - 1) // 2)
    return larger(reading, ratio * pairs * price.prefill_lists[1][n * queries])


def _verified(price: AttentionPrice, s: Shapes, queries: int, ratio: float) -> Array:
    """The array face of `_verified_s`; 0 without decodes."""
    reading = price.decode_array(s)
    if queries == 1:
        return reading
    n = s["decodes"]
    context = s["context_tokens"] if price.cap < 0 else s[f"capped_{price.cap + 1}"]
    pairs = queries * context - n * (queries * (queries - 1) // 2)
    out: Array = np.maximum(reading, ratio * pairs * price.prefill.pair[n * queries])
    return out


def _joined(
    stage: StageTables,
    linear: Array,
    attention: Array,
    head: Array,
    total: NDArray[Any],
    fullest: NDArray[Any],
) -> Array:
    """Seconds of steps whose work overlaps, (steps,), as `StageTables.together_array` has them."""
    parts = Parts(
        linear=linear.max(axis=1),
        attention=attention.max(axis=1),
        experts=stage.experts[total],
        collective=stage.collective[fullest],
        head=head.max(axis=1),
        shared=0.0 if stage.shared is None else stage.shared[fullest],
        tokens=fullest,
    )
    out: Array = stage.streams.joined(parts)  # type: ignore[union-attr]
    return out
