"""Seconds of a forward pass in which every decoding sequence brings several query tokens.

With n sequences of q tokens each, products, norms, head, experts and collectives are those of n · q
tokens: the tables have them (the experts' tables count how many experts so many tokens touch).
Attention reads a sequence's keys and values once, whatever q is, and scores every query:

    max(decode_s(n, Σ context), pairs · pair_s[n · q])      pairs = Σ (q · context − q (q − 1) / 2)

the first from the decode tables (what reading costs), the second the prefill kernels' seconds per
query-key pair (what arithmetic costs at that many queries). Kernels for a few queries compute on
latents without widening them, as decode kernels do (absorbed projections, DeepSeek-V2), which takes
`arithmetic` times the operations of a prefill pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.layer_work import attention_works
from sim.perf.price_list import Array, AttentionPrice, Shapes, StageTables
from sim.perf.step_timer import TableTimer
from sim.perf.streams import Parts
from sim.perf.task import PriceTask

CAUSES = ("linear_s", "attention_s", "experts_s", "collective_s", "rank_wait_s")


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes of one model on one pipeline stage."""

    timer: TableTimer
    arithmetic: tuple[float, ...]
    """By kind of attention: operations per query-key pair of a decode kernel over those of a
    prefill kernel."""

    @staticmethod
    def of(timer: TableTimer, task: PriceTask) -> Passes:
        """Of a compiled task."""
        kinds = dict.fromkeys(
            work for layer in task.model.layer_counts for work in attention_works(task, layer)
        )
        ratios = [
            w.flops_per_context / w.flops_per_pair if w.flops_per_pair else 1.0 for w in kinds
        ]
        count = len(timer.tables[0].attention)
        return Passes(timer, tuple(ratios) if len(ratios) == count else (1.0,) * count)

    def causes(self, s: Shapes, queries: int, rows: int) -> dict[str, Array]:
        """Seconds by cause, each (steps, ranks), of passes whose decoding sequences bring `queries`
        tokens each, of which `rows` go through the head; prompts as they are. `context_tokens`
        count the keys that the last query of each attends to."""
        stage = self.timer.tables[0]
        n, p = s["decodes"], s["prefill_tokens"]
        tokens = n * queries + p
        total, fullest = tokens.sum(axis=1), tokens.max(axis=1)
        head = stage.head[n * rows + (s["sampled"] - n)]
        linear, attention = stage.linear[tokens] + head, self._attention(stage, s, queries)
        local = linear + attention
        none = np.zeros(tokens.shape)
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

    def _attention(self, stage: StageTables, s: Shapes, queries: int) -> Array:
        n = s["decodes"]
        decode, prefill = np.zeros(n.shape), np.zeros(n.shape)
        for price, ratio in zip(stage.attention, self.arithmetic, strict=True):
            decode = decode + _verified(price, s, queries, ratio)
            prefill = prefill + price.prefill_array(s)
        if stage.exchange is None:
            return np.asarray(decode + prefill)
        return stage.exchange.array(decode, prefill, s | {"decodes": n * queries})


def _verified(price: AttentionPrice, s: Shapes, queries: int, ratio: float) -> Array:
    """Of the decoding sequences: the longer of reading and scoring."""
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
