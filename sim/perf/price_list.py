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

from sim.perf.kv_exchange import KvExchange
from sim.perf.mixed_attention import MixedAttention
from sim.perf.shape import StepShape
from sim.perf.streams import Join, Parts

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
    mixed: MixedAttention | None = None
    """How decodes and a prompt go together; None = one after the other."""
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

    def arrays(self, s: Shapes) -> tuple[Array, Array]:
        """Seconds of decodes and of prompts; where `mixed` has both in one, of both and 0."""
        decode, prefill = self.decode_array(s), self.prefill_array(s)
        if self.mixed is None:
            return decode, prefill
        n, p = s["decodes"], s["prefill_tokens"]
        context = s["context_tokens"] if self.cap < 0 else s[f"capped_{self.cap + 1}"]
        both = (n > 0) & (p > 0)
        decode = np.where(both, self.mixed.array(n, context, p, prefill), decode)
        return decode, np.where(both, 0.0, prefill)


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
    exchange: KvExchange | None = None
    """Between the devices that share a sequence's KV. None = nothing."""
    streams: Join | None = None
    """How work overlaps inside a step; None = one after the other."""
    shared: Array | None = None
    """By a rank's tokens: the part of `linear` that is the shared experts', where it overlaps."""
    whole: StageTables | None = None
    """The same work in one batch and in order, where `streams` divides the batch: an engine divides
    only the steps that gain by it."""
    parts: int = 1
    """Into how many `streams` divides it."""
    lists: tuple[list[float], ...] = field(init=False)

    def __post_init__(self) -> None:
        rest = self.experts[: len(self.collective)] + self.collective
        made = (self.linear, self.head, rest, self.collective)
        object.__setattr__(self, "lists", tuple(t.tolist() for t in made))

    def local_s(self, shape: StepShape) -> float:
        """Seconds of one rank before the experts and collectives."""
        n, p = shape.decodes, shape.prefill_tokens
        total = self.lists[0][n + p] + self.lists[1][shape.sampled]
        return total + self.attention_s(shape)

    def attention_s(self, shape: StepShape) -> float:
        """Seconds of attention of one rank, the exchange of partial results included."""
        n, p = shape.decodes, shape.prefill_tokens
        if self.exchange is not None:
            return self._exchanged_s(shape)
        total = 0.0
        for a in self.attention:
            if n:
                context = shape.context_tokens if a.cap < 0 else shape.capped_tokens[a.cap]
                if p and a.mixed is not None:
                    total += a.mixed.seconds(n, context, p, a.prefill_s(p, shape))
                    continue
                total += a.decode_s(n, context)
            if p:
                total += a.prefill_s(p, shape)
        return total

    def _exchanged_s(self, shape: StepShape) -> float:
        n, p = shape.decodes, shape.prefill_tokens
        decode = prefill = 0.0
        for a in self.attention:
            if n:
                context = shape.context_tokens if a.cap < 0 else shape.capped_tokens[a.cap]
                decode += a.decode_s(n, context)
            if p:
                prefill += a.prefill_s(p, shape)
        made: KvExchange = self.exchange  # type: ignore[assignment]
        return made.seconds(decode, prefill, n, shape)

    def attention_array(self, s: Shapes) -> Array:
        """The array face of `attention_s`."""
        n = s["decodes"]
        if self.exchange is not None:
            decode: Array = np.zeros(n.shape)
            prefill: Array = np.zeros(n.shape)
            for a in self.attention:
                decode = decode + a.decode_array(s)
                prefill = prefill + a.prefill_array(s)
            return self.exchange.array(decode, prefill, s)
        total: Array = np.zeros(n.shape)
        for a in self.attention:
            for seconds in a.arrays(s):
                total = total + seconds
        return total

    def local_array(self, s: Shapes) -> Array:
        """The array face of `local_s`, in the same order of operations."""
        tokens = s["decodes"] + s["prefill_tokens"]
        out: Array = self.linear[tokens] + self.head[s["sampled"]] + self.attention_array(s)
        return out

    def together_s(self, shapes: list[StepShape], total: int, fullest: int) -> float:
        """Seconds of a step of all ranks with `streams`: the longest of each kind of work."""
        if self.streams is None:
            apart = float(self.experts[total]) + self.lists[3][fullest]
            return max([self.local_s(s) for s in shapes]) + apart
        parts = Parts(
            linear=max([self.lists[0][s.tokens] + self.lists[1][s.sampled] for s in shapes]),
            attention=max([self.attention_s(s) for s in shapes]),
            experts=float(self.experts[total]),
            collective=self.lists[3][fullest],
            head=max([self.lists[1][s.sampled] for s in shapes]),
            shared=0.0 if self.shared is None else float(self.shared[fullest]),
            tokens=fullest,
        )
        seconds = float(self.streams.joined(parts))
        if self.whole is None:
            return seconds
        undivided = self.whole.together_s(shapes, total, fullest)
        return undivided if fullest < self.parts or undivided < seconds else seconds

    def together_array(self, s: Shapes, total: NDArray[Any], fullest: NDArray[Any]) -> Array:
        """The array face of `together_s`, shaped (steps,)."""
        out: Array
        if self.streams is None:
            out = self.local_array(s).max(axis=1)
            out = out + (self.experts[total] + self.collective[fullest])
            return out
        tokens = s["decodes"] + s["prefill_tokens"]
        parts = Parts(
            linear=(self.linear[tokens] + self.head[s["sampled"]]).max(axis=1),
            attention=self.attention_array(s).max(axis=1),
            experts=self.experts[total],
            collective=self.collective[fullest],
            head=self.head[s["sampled"]].max(axis=1),
            shared=0.0 if self.shared is None else self.shared[fullest],
            tokens=fullest,
        )
        out = self.streams.joined(parts)
        if self.whole is None:
            return out
        undivided = self.whole.together_array(s, total, fullest)
        return np.where((fullest < self.parts) | (undivided < out), undivided, out)


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
