"""The compiled price list of one pipeline stage: tables over whole numbers, with two faces.

The scalar face serves the engine, the array face the search and the breakdown; both use + − × ÷ max
and tables in the same order, so they agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.shape import StepShape

Array = NDArray[np.float64]
Shapes = dict[str, NDArray[Any]]
"""Columns named as in the `steps` table, each shaped (steps, ranks)."""


@dataclass(frozen=True, slots=True)
class DecodeTables:
    """Seconds of decode attention by decoding sequences n that attend to c keys in all:
    max(floor[n], min(near[n] + c · near_key[n], far[n] + c · far_key[n])).

    Few keys come quicker (from cache, or by fewer waves) than many, after a ramp.
    """

    floor: Array
    near: Array
    near_key: Array
    far: Array
    far_key: Array

    @staticmethod
    def line(floor: Array, base: Array, key: Array) -> DecodeTables:
        """One line: max(floor, base + c · key)."""
        return DecodeTables(floor, base, key, base, key)

    def times(self, layers: float, share: float = 1.0) -> DecodeTables:
        """Of several layers, on devices that hold a `share` of the keys each."""
        keys = layers * share
        return DecodeTables(
            layers * self.floor,
            layers * self.near,
            keys * self.near_key,
            layers * self.far,
            keys * self.far_key,
        )

    def plus(self, seconds: Array) -> DecodeTables:
        """With more that depends on the number of sequences alone."""
        near, far = self.near + seconds, self.far + seconds
        return DecodeTables(self.floor + seconds, near, self.near_key, far, self.far_key)

    def mapped(self, change: Callable[[Array], Array]) -> DecodeTables:
        """With `change` applied to every table."""
        return DecodeTables(*(change(getattr(self, f.name)) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class PrefillTables:
    """Seconds of prefill attention by prompt tokens p in m chunks, with P query-key pairs, K keys
    read and a window w: max(floor, base[p] + m · chunk + max(P · pair[p] + (K − p) · cached[p],
    K · key[p])) + min(p, max(0, K − m · w)) · beyond[p]."""

    base: Array
    pair: Array
    cached: Array
    """To rebuild a key and value of an earlier chunk."""
    key: Array
    beyond: Array
    """For a query whose window hides keys from it."""
    chunk: float = 0.0
    floor: float = 0.0

    def times(self, layers: float, share: float = 1.0) -> PrefillTables:
        """Of several layers, on devices that hold a `share` of the keys each."""
        keys = layers * share
        return PrefillTables(
            layers * self.base,
            keys * self.pair,
            keys * self.cached,
            keys * self.key,
            keys * self.beyond,
            layers * self.chunk,
            layers * self.floor,
        )

    def mapped(self, change: Callable[[Array], Array]) -> PrefillTables:
        """With `change` applied to every table."""
        return PrefillTables(
            change(self.base),
            change(self.pair),
            change(self.cached),
            change(self.key),
            change(self.beyond),
            self.chunk,
            self.floor,
        )


@dataclass(frozen=True, slots=True)
class AttentionPrice:
    """Seconds of one kind of attention in one stage, all its layers together."""

    cap: int
    """Which capped sum it attends to; -1 = the whole context."""
    decode: DecodeTables
    prefill: PrefillTables
    window: int = 0
    """Tokens of the cap."""
    decode_lists: tuple[list[float], ...] = field(init=False)
    prefill_lists: tuple[list[float], ...] = field(init=False)

    def __post_init__(self) -> None:
        d, p = self.decode, self.prefill
        decode = (d.floor, d.near, d.near_key, d.far, d.far_key)
        prefill = (p.base, p.pair, p.cached, p.key, p.beyond)
        object.__setattr__(self, "decode_lists", tuple(t.tolist() for t in decode))
        object.__setattr__(self, "prefill_lists", tuple(t.tolist() for t in prefill))

    def decode_s(self, n: int, context: int) -> float:
        """Seconds for n ≥ 1 decodes that attend to `context` keys."""
        floor, near, near_key, far, far_key = self.decode_lists
        seconds = near[n] + context * near_key[n]
        ramped = far[n] + context * far_key[n]
        if ramped < seconds:
            seconds = ramped
        return seconds if seconds > floor[n] else floor[n]

    def prefill_s(self, p: int, shape: StepShape) -> float:
        """Seconds for the p ≥ 1 prompt tokens of a shape."""
        base, pair, cached, key, beyond = self.prefill_lists
        pairs = shape.prefill_pairs if self.cap < 0 else shape.capped_pairs[self.cap]
        keys, chunks = shape.prefill_kv_tokens, shape.prefills
        work = pairs * pair[p] + (keys - p) * cached[p]
        read = keys * key[p]
        seconds = base[p] + chunks * self.prefill.chunk + (work if work > read else read)
        if seconds < self.prefill.floor:
            seconds = self.prefill.floor
        return seconds + min(p, max(0, keys - chunks * self.window)) * beyond[p]

    def decode_array(self, s: Shapes) -> Array:
        """The array face of `decode_s`; 0 without decodes."""
        n, d = s["decodes"], self.decode
        context = s["context_tokens"] if self.cap < 0 else s[f"capped_{self.cap + 1}"]
        near, far = d.near[n] + context * d.near_key[n], d.far[n] + context * d.far_key[n]
        out: Array = np.maximum(np.minimum(near, far), d.floor[n])
        return out

    def prefill_array(self, s: Shapes) -> Array:
        """The array face of `prefill_s`; 0 without prompts."""
        p, keys, chunks, t = (
            s["prefill_tokens"],
            s["prefill_kv_tokens"],
            s["prefills"],
            self.prefill,
        )
        pairs = s["prefill_pairs"] if self.cap < 0 else s[f"capped_pairs_{self.cap + 1}"]
        work = np.maximum(pairs * t.pair[p] + (keys - p) * t.cached[p], keys * t.key[p])
        seconds = np.maximum(t.base[p] + chunks * t.chunk + work, np.where(p > 0, t.floor, 0.0))
        hidden = np.minimum(p, np.maximum(0, keys - chunks * self.window))
        out: Array = seconds + hidden * t.beyond[p]
        return out


@dataclass(frozen=True, slots=True)
class Streams:
    """Two kinds of work side by side, each slowing the other.

    While both run, the first proceeds at a share a of its speed and the second at b, a + b ≥ 1.
    Works that take A and B alone then take max(B + A·x, A + B·y) with x = (1 − b)/a and
    y = (1 − a)/b: whichever outlasts the other finishes at full speed. x = y = 1 is one after the
    other, x = y = 0 free overlap.
    """

    second: frozenset[str]
    """Which of `attention`, `linear`, `experts`, `collective` are in the second stream."""
    first_s: float
    """x: seconds that one second of the first stream adds to the second."""
    second_s: float
    """y: seconds that one second of the second stream adds to the first."""
    exposed: float = 0.0
    """Share of the second stream that nothing hides (its head and tail)."""

    def joined(self, parts: dict[str, Any]) -> Any:
        """Seconds of all parts, as numbers or arrays alike; max by comparison."""
        one: Any = 0.0
        two: Any = 0.0
        for name, seconds in parts.items():
            if name in self.second:
                two = two + seconds
            else:
                one = one + seconds
        bare = two * self.exposed
        two = two - bare
        left, right = two + one * self.first_s, one + two * self.second_s
        if isinstance(left, np.ndarray):
            return np.maximum(left, right) + bare
        return (left if left > right else right) + bare


@dataclass(frozen=True, slots=True)
class StageTables:
    """The price list of one pipeline stage. Tables are indexed by whole numbers of tokens."""

    linear: Array
    """By a rank's tokens: weight matrices outside the experts, norms."""
    head: Array
    """By a rank's sampled tokens: the language-model head and the sampler."""
    experts: Array
    """By the tokens of all ranks."""
    collective: Array
    """By the tokens of the fullest rank."""
    attention: tuple[AttentionPrice, ...]
    exchange: Array | None = None
    """By a rank's tokens: what the devices that share a sequence's KV exchange; sequences overlap
    it with each other's attention (Helix, HOP-B). None = nothing."""
    streams: Streams | None = None
    """How work overlaps inside a step; None = one after the other."""
    lists: tuple[list[float], ...] = field(init=False)

    def __post_init__(self) -> None:
        rest = self.experts[: len(self.collective)] + self.collective
        made = (self.linear, self.head, rest, self.collective)
        exchange = () if self.exchange is None else (self.exchange.tolist(),)
        object.__setattr__(self, "lists", (*(t.tolist() for t in made), *exchange))

    def local_s(self, shape: StepShape) -> float:
        """Seconds of one rank before the experts and collectives."""
        n, p = shape.decodes, shape.prefill_tokens
        total = self.lists[0][n + p] + self.lists[1][shape.sampled]
        return total + self.attention_s(shape)

    def attention_s(self, shape: StepShape) -> float:
        """Seconds of attention of one rank, the exchange of partial results included."""
        n, p = shape.decodes, shape.prefill_tokens
        total = 0.0
        for a in self.attention:
            if n:
                context = shape.context_tokens if a.cap < 0 else shape.capped_tokens[a.cap]
                total += a.decode_s(n, context)
            if p:
                total += a.prefill_s(p, shape)
        if self.exchange is None:
            return total
        sent, parts = self.lists[4][n + p], n + shape.prefills
        if not parts:
            return total
        left, right = total + sent / parts, sent + total / parts
        return left if left > right else right

    def attention_array(self, s: Shapes) -> Array:
        """The array face of `attention_s`."""
        n, p = s["decodes"], s["prefill_tokens"]
        total: Array = np.zeros(n.shape)
        for a in self.attention:
            total = total + a.decode_array(s)
            total = total + a.prefill_array(s)
        if self.exchange is None:
            return total
        sent, parts = self.exchange[n + p], np.maximum(n + s["prefills"], 1)
        both: Array = np.maximum(total + sent / parts, sent + total / parts)
        return both

    def local_array(self, s: Shapes) -> Array:
        """The array face of `local_s`, in the same order of operations."""
        tokens = s["decodes"] + s["prefill_tokens"]
        out: Array = self.linear[tokens] + self.head[s["sampled"]] + self.attention_array(s)
        return out

    def together_s(self, shapes: list[StepShape], total: int, fullest: int) -> float:
        """Seconds of a step of all ranks with `streams`: the longest of each kind of work."""
        linear = max([self.lists[0][s.tokens] + self.lists[1][s.sampled] for s in shapes])
        attention = max([self.attention_s(s) for s in shapes])
        parts = {"linear": linear, "attention": attention}
        parts |= {"experts": float(self.experts[total]), "collective": self.lists[3][fullest]}
        streams = self.streams or Streams(frozenset(), 1.0, 1.0)
        return float(streams.joined(parts))

    def together_array(self, s: Shapes, total: NDArray[Any], fullest: NDArray[Any]) -> Array:
        """The array face of `together_s`, shaped (steps,)."""
        tokens = s["decodes"] + s["prefill_tokens"]
        parts = {
            "linear": (self.linear[tokens] + self.head[s["sampled"]]).max(axis=1),
            "attention": self.attention_array(s).max(axis=1),
            "experts": self.experts[total],
            "collective": self.collective[fullest],
        }
        streams = self.streams or Streams(frozenset(), 1.0, 1.0)
        out: Array = streams.joined(parts)
        return out


@dataclass(frozen=True, slots=True)
class HostTables:
    """What the host adds to a step. Both by a rank's sequences (decodes and chunks)."""

    exposed: Array
    """Seconds that no GPU work hides."""
    loop: Array
    """Seconds of the host's own loop: no step is shorter."""
    lists: tuple[list[float], list[float]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lists", (self.exposed.tolist(), self.loop.tolist()))

    @staticmethod
    def constant(seconds: float, sequences: int) -> HostTables:
        """The same exposed time for every step and no bound."""
        return HostTables(np.full(sequences + 1, seconds), np.zeros(sequences + 1))

    def step_s(self, gpu_s: float, sequences: int) -> float:
        """Seconds of a step whose GPU work takes `gpu_s`."""
        seconds = gpu_s + self.lists[0][sequences]
        loop = self.lists[1][sequences]
        return seconds if seconds > loop else loop

    def step_array(self, gpu_s: Array, sequences: NDArray[Any]) -> Array:
        """The array face of `step_s`."""
        out: Array = np.maximum(gpu_s + self.exposed[sequences], self.loop[sequences])
        return out
