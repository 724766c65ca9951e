"""Arrays of decode steps priced at once: the face of a compiled timer for searches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.perf.price_list import Array, Shapes
from sim.perf.shape import MAX_CAPS
from sim.perf.speculation.price import SpeculativeTimer
from sim.perf.step_timer import TableTimer

Numbers = NDArray[np.int64]
AnyTimer = TableTimer | SpeculativeTimer
"""What prices whole passes."""


@dataclass(frozen=True, slots=True)
class SpeculativeStage:
    """One pipeline stage of steps that are drafted for."""

    timer: SpeculativeTimer
    index: int

    @property
    def caps(self) -> tuple[int, ...]:
        """Of the whole."""
        return self.timer.caps

    def seconds(self, s: Shapes) -> Array:
        """(steps,) seconds in the stage."""
        return self.timer.stage_seconds(s)[self.index]


def decode_shapes(
    timer: AnyTimer | SpeculativeStage, batch: Numbers, context: Array, ranks: int = 1
) -> Shapes:
    """Steps in which each of `ranks` ranks decodes `batch` sequences of `context` tokens each."""
    n = np.broadcast_to(np.asarray(batch, dtype=np.int64)[:, None], (len(batch), ranks))
    none = np.zeros_like(n)
    each = np.asarray(context, dtype=np.float64)[:, None]
    out: Shapes = {"decodes": n, "sampled": n, "context_tokens": n * each}
    for i in range(MAX_CAPS):
        cap = timer.caps[i] if i < len(timer.caps) else 0
        out[f"capped_{i + 1}"] = n * np.minimum(each, cap)
        out[f"capped_pairs_{i + 1}"] = none
    return out | dict.fromkeys(
        ("prefills", "prefill_tokens", "prefill_pairs", "prefill_kv_tokens"), none
    )


def decode_seconds(
    timer: AnyTimer | SpeculativeStage, batch: Numbers, context: Array, ranks: int = 1
) -> Array:
    """Seconds of each such step, shaped as `batch`. In a pipeline: of a pass through all stages."""
    return timer.seconds(decode_shapes(timer, batch, context, ranks))
