"""What devices that share a sequence's KV by position send each other, beside attention.

Three laws, for seconds A of attention and X of exchange, each alone:

- by sequence (Helix, HOP-B; arXiv 2507.07120, figure 3): the batch is a pipeline of n parts,
  max(A + X/n, X + A/n), where X is that of n messages. The number of parts that is quickest counts,
  at most one a sequence;
- ring (ring attention, arXiv 2310.01889; pass-KV, arXiv 2411.01783): keys travel in c − 1 hops,
  each beside the attention to the keys at hand, A/c + (c − 1)·max(A/c, X/(c − 1)), which is
  max(A, X + A/c);
- exposed: A + X.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sim.perf.shape import StepShape
from sim.perf.streams import longest, shortest

Array = NDArray[np.float64]
Law = Literal["ring", "exposed"]

MESSAGES = (1, 2, 4, 8, 16)
"""Numbers of parts that are tried. assumed: more do not pay, every one costs a launch."""


@dataclass(frozen=True, slots=True)
class KvExchange:
    """The exchange of one stage, all its layers together.

    Partial results are exchanged for every token (`partials`); a layout that divides the tokens of
    prompts sends their keys round instead (`keys`) and partial results for decodes alone.
    """

    partials: tuple[Array, ...]
    """Seconds by tokens whose partial results are exchanged: exposed in one message, or in so many
    as `MESSAGES` says, beside attention."""
    keys: Array | None = None
    """Seconds by prompt tokens whose keys and values go to the other groups."""
    cached_s: float = 0.0
    """Seconds per key of earlier chunks, beyond the prompt tokens of the step."""
    law: Law = "exposed"
    """How keys overlap with attention."""
    groups: int = 1
    """Groups that share the KV."""
    lists: tuple[tuple[list[float], ...], list[float]] = field(init=False)

    def __post_init__(self) -> None:
        keys = [] if self.keys is None else self.keys.tolist()
        object.__setattr__(self, "lists", (tuple(t.tolist() for t in self.partials), keys))

    def seconds(self, decode: float, prefill: float, n: int, shape: StepShape) -> float:
        """Attention and exchange of one rank with n decodes and the prompts of `shape`."""
        p, chunks = shape.prefill_tokens, shape.prefills
        partials, keys = self.lists
        if self.keys is None:
            return _scalar_partials(decode + prefill, partials, n + p, n + chunks)
        sent = keys[p] + (shape.prefill_kv_tokens - p) * self.cached_s
        total = _scalar_partials(decode, partials, n, n)
        return float(total + self._keys(prefill, sent))

    def array(self, decode: Array, prefill: Array, s: dict[str, NDArray[Any]]) -> Array:
        """The array face of `seconds`."""
        n, p, chunks = s["decodes"], s["prefill_tokens"], s["prefills"]
        if self.keys is None:
            sent = [t[n + p] for t in self.partials]
            out: Array = self._partials(decode + prefill, sent, n + chunks)
            return out
        moved = self.keys[p] + (s["prefill_kv_tokens"] - p) * self.cached_s
        total = self._partials(decode, [t[n] for t in self.partials], n)
        both: Array = total + self._keys(prefill, moved)
        return both

    def _partials(self, attention: Any, sent: list[Any], sequences: Any) -> Any:
        if len(sent) == 1:
            return attention + sent[0]
        some = longest(sequences, sequences * 0 + 1)
        tried = []
        for messages, seconds in zip(MESSAGES, sent, strict=True):
            parts = shortest(some, some * 0 + messages)
            tried.append(longest(attention + seconds / parts, seconds + attention / parts))
        return shortest(*tried)

    def _keys(self, attention: Any, sent: Any) -> Any:
        if self.law == "exposed":
            return attention + sent
        return longest(attention, sent + attention / self.groups)


def _scalar_partials(
    attention: float, partials: tuple[list[float], ...], tokens: int, sequences: int
) -> float:
    """`KvExchange._partials` for one step, in plain floats."""
    if len(partials) == 1:
        return attention + partials[0][tokens]
    some, best = sequences or 1, float("inf")
    for messages, table in zip(MESSAGES, partials, strict=True):
        seconds, parts = table[tokens], messages if messages < some else some
        left, right = attention + seconds / parts, seconds + attention / parts
        longer = left if left > right else right
        if longer < best:
            best = longer
    return best
