"""What devices that share a sequence's KV by position send each other, beside attention.

Three laws, for seconds A of attention and X of exchange, each alone:

- by sequence (Helix, HOP-B; arXiv 2507.07120, figure 3): the batch is a pipeline of n sequences,
  max(A + X/n, X + A/n);
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

from sim.perf.streams import longest

Array = NDArray[np.float64]
Law = Literal["by_sequence", "ring", "exposed"]


@dataclass(frozen=True, slots=True)
class KvExchange:
    """The exchange of one stage, all its layers together.

    Partial results are exchanged for every token (`partials`); a layout that divides the tokens of
    prompts sends their keys round instead (`keys`) and partial results for decodes alone.
    """

    partials: Array
    """Seconds by tokens whose partial results are exchanged."""
    law: Law = "exposed"
    """How partial results overlap with attention."""
    keys: Array | None = None
    """Seconds by prompt tokens whose keys and values go to the other groups."""
    cached_s: float = 0.0
    """Seconds per key of earlier chunks, beyond the prompt tokens of the step."""
    keys_law: Law = "exposed"
    groups: int = 1
    """Groups that share the KV."""
    lists: tuple[list[float], ...] = field(init=False)

    def __post_init__(self) -> None:
        keys = () if self.keys is None else (self.keys.tolist(),)
        object.__setattr__(self, "lists", (self.partials.tolist(), *keys))

    def seconds(self, decode: float, prefill: float, n: int, shape: Any) -> float:
        """Attention and exchange of one rank with n decodes and the prompts of `shape`."""
        p, chunks = shape.prefill_tokens, shape.prefills
        if self.keys is None:
            return float(self._partials(decode + prefill, self.lists[0][n + p], n + chunks))
        sent = self.lists[1][p] + (shape.prefill_kv_tokens - p) * self.cached_s
        total = self._partials(decode, self.lists[0][n], n)
        return float(total + self._keys(prefill, sent))

    def array(self, decode: Array, prefill: Array, s: dict[str, NDArray[Any]]) -> Array:
        """The array face of `seconds`."""
        n, p, chunks = s["decodes"], s["prefill_tokens"], s["prefills"]
        if self.keys is None:
            out: Array = self._partials(decode + prefill, self.partials[n + p], n + chunks)
            return out
        sent = self.keys[p] + (s["prefill_kv_tokens"] - p) * self.cached_s
        total: Array = self._partials(decode, self.partials[n], n) + self._keys(prefill, sent)
        return total

    def _partials(self, attention: Any, sent: Any, sequences: Any) -> Any:
        if self.law == "exposed":
            return attention + sent
        parts = longest(sequences, sequences * 0 + 1)
        return longest(attention + sent / parts, sent + attention / parts)

    def _keys(self, attention: Any, sent: Any) -> Any:
        if self.keys_law == "exposed":
            return attention + sent
        return longest(attention, sent + attention / self.groups)
