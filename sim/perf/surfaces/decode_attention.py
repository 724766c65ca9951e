"""Decode of grouped-query attention: every sequence's one query reads its keys and values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.catalog.formats import load_format
from sim.catalog.gpu import Gpu

Array = NDArray[np.float64]

_PACKED = 32.0
"""Most query heads that share the reading of a key; a larger group costs group ÷ 32 times as much.
Kernel tables of AIConfigurator (TensorRT-LLM 1.3): time per key follows the key heads in groups of
up to 32 and the query heads in groups of 48 and more."""


@dataclass(frozen=True, slots=True)
class DecodeAttention:
    """One decode step of one layer on one GPU.

    seconds = max(floor_s, min(near_s + context·near_key_s, far_s + context·far_key_s)), all of
    them functions of n, the sequences; `context` = Σ over sequences of keys attended.

    Engines pick another kernel by the query heads of a key head, and so every figure is a tuple
    with a value per class of group; class i takes groups up to `groups[i]`, the last also larger
    ones. In the following an item is one key head of one sequence (more for groups above 32), and
    SM-seconds are divided by the GPU's SM count.

    - far_key_s = max(bytes of a key ÷ (`bandwidth`·HBM), items·`key_s` ÷ SMs ÷ n,
      `serial_s` ÷ n): memory, arithmetic, or one thread block walking over a context not split.
    - near_key_s = max(far_key_s, bytes of a key ÷ SMs ÷ `sm_bytes_per_s`, `sole_s` ÷ n): with short
      contexts too few loads are in flight to cover the latency of memory (Little's law), and few
      sequences are cut into too few splits to fill the GPU.
    - floor_s = `launch_s` + items·`item_s` + n·q_heads·`query_s`: short contexts.
    - near_s = `launch_s` + items·`stream_s`; far_s = near_s + `ramp_s`: filling and draining a
      split-KV kernel and its reduction (Flash-Decoding, pytorch.org/blog/flash-decoding).
    - In a window that is full: + min(`window_ramp_s` up to `window_items` items + items·`window_s`,
      key heads·keys outside·`outside_s`), the thread blocks and splits that the whole context gets.

    The tables behind fitted figures read the same keys again and again, so small caches sit in L2;
    no credit is kept for it beyond what the short-context line has absorbed. A variant is
    `compute/kv/head_dim`, see `nearest_variant`. Defaults: Hopper, rounded.
    """

    groups: tuple[float, ...] = (32.0,)
    launch_s: tuple[float, ...] = (10e-6,)
    item_s: tuple[float, ...] = (3e-6,)
    query_s: tuple[float, ...] = (1e-7,)
    stream_s: tuple[float, ...] = (5e-7,)
    ramp_s: tuple[float, ...] = (8e-6,)
    bandwidth: tuple[float, ...] = (0.9,)
    sm_bytes_per_s: tuple[float, ...] = (2e10,)
    key_s: tuple[float, ...] = (1e-10,)
    sole_s: tuple[float, ...] = (3e-10,)
    serial_s: tuple[float, ...] = (1e-12,)
    window_s: tuple[float, ...] = (1e-6,)
    window_ramp_s: tuple[float, ...] = (0.0,)
    window_items: tuple[float, ...] = (0.0,)
    outside_s: tuple[float, ...] = (1e-9,)

    def coefficients(
        self,
        gpu: Gpu,
        *,
        q_heads: ArrayLike,
        kv_heads: ArrayLike,
        head_dim: ArrayLike,
        kv_bytes: ArrayLike,
        batch: ArrayLike,
        windowed: bool = False,
    ) -> tuple[Array, Array, Array, Array, Array]:
        """floor_s, near_s, near_key_s, far_s, far_key_s by sequences in the batch (0 counts as 1).

        Heads are those of one GPU, `kv_bytes` per element of the cache; arrays broadcast. With a
        window every sequence is taken to be longer than it.
        """
        floor_s, near_s, near_key_s, far_s, far_key_s = self._lines(
            gpu, q_heads, kv_heads, head_dim, kv_bytes, batch
        )
        more = self._window_s(gpu, q_heads, kv_heads, batch, np.inf) if windowed else 0.0
        return floor_s + more, near_s + more, near_key_s, far_s + more, far_key_s

    def seconds(
        self,
        gpu: Gpu,
        *,
        q_heads: ArrayLike,
        kv_heads: ArrayLike,
        head_dim: ArrayLike,
        kv_bytes: ArrayLike,
        batch: ArrayLike,
        context: ArrayLike,
        outside: ArrayLike = 0.0,
    ) -> Array:
        """Seconds of whole rows: `context` keys attended and `outside` ones that a window hides,
        both summed over the sequences."""
        floor_s, near_s, near_key_s, far_s, far_key_s = self._lines(
            gpu, q_heads, kv_heads, head_dim, kv_bytes, batch
        )
        keys = _float(context)
        reading = np.minimum(near_s + keys * near_key_s, far_s + keys * far_key_s)
        more = self._window_s(gpu, q_heads, kv_heads, batch, outside)
        return np.maximum(floor_s, reading) + more

    def _lines(
        self,
        gpu: Gpu,
        q_heads: ArrayLike,
        kv_heads: ArrayLike,
        head_dim: ArrayLike,
        kv_bytes: ArrayLike,
        batch: ArrayLike,
    ) -> tuple[Array, Array, Array, Array, Array]:
        q, kv, n = _float(q_heads), _float(kv_heads), np.maximum(_float(batch), 1.0)
        at, passes, sms = self._class(q / kv), kv * np.maximum(1.0, q / kv / _PACKED), gpu.sm_count
        items = n * passes
        key_bytes = 2.0 * kv * _float(head_dim) * _float(kv_bytes)
        memory_s = key_bytes / (_pick(self.bandwidth, at) * gpu.hbm_bytes_per_s)
        far_key_s = np.maximum(
            np.maximum(memory_s, passes * _pick(self.key_s, at) / sms),
            _pick(self.serial_s, at) / n,
        )
        launch_s = _pick(self.launch_s, at)
        floor_s = (
            launch_s + (items * _pick(self.item_s, at) + n * q * _pick(self.query_s, at)) / sms
        )
        near_s = launch_s + items * _pick(self.stream_s, at) / sms
        near_key_s = np.maximum(
            np.maximum(far_key_s, key_bytes / (_pick(self.sm_bytes_per_s, at) * sms)),
            _pick(self.sole_s, at) / n,
        )
        return floor_s, near_s, near_key_s, near_s + _pick(self.ramp_s, at), far_key_s

    def _window_s(
        self,
        gpu: Gpu,
        q_heads: ArrayLike,
        kv_heads: ArrayLike,
        batch: ArrayLike,
        outside: ArrayLike,
    ) -> Array:
        """What a full window costs more; nothing where no key is outside of it."""
        q, kv, n = _float(q_heads), _float(kv_heads), np.maximum(_float(batch), 1.0)
        at, passes = self._class(q / kv), kv * np.maximum(1.0, q / kv / _PACKED)
        items = n * passes
        ramp_s = np.where(items <= _pick(self.window_items, at), _pick(self.window_ramp_s, at), 0.0)
        most = ramp_s + items * _pick(self.window_s, at) / gpu.sm_count
        return np.minimum(most, passes * _float(outside) * _pick(self.outside_s, at))

    def _class(self, group: Array) -> NDArray[np.intp]:
        """Index of the class of each group."""
        return np.minimum(np.searchsorted(self.groups, group), len(self.groups) - 1)


def nearest_variant(variants: Iterable[str], compute: str, kv: str, head_dim: int) -> str | None:
    """Of measured `compute/kv/head_dim` variants the one that stands in for the wanted; None
    without any.

    First counts the size of a key's element, then the format of the products, then head_dim (its
    bytes and operations are scaled by the surface, fixed costs are those of the variant).
    """

    def distance(variant: str) -> tuple[float, bool, float, str]:
        products, cache, dim = variant.split("/")
        bits = abs(load_format(cache).bits - load_format(kv).bits)
        ratio = max(int(dim), head_dim) / min(int(dim), head_dim)
        return bits, products != compute, ratio, variant

    return min(variants, key=distance, default=None)


def _pick(figures: tuple[float, ...], at: NDArray[np.intp]) -> Array:
    return _float(figures)[np.minimum(at, len(figures) - 1)]


def _float(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)
