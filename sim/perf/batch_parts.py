"""A step whose batch is cut into parts that run one after the other: every part reads the weights
again and is less efficient than the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from sim.perf.price_list import DecodeTables, PrefillTables

Array = NDArray[np.float64]


def _cut(amount: Array, parts: int) -> tuple[Array, Array]:
    """(size of the smaller parts, how many are one larger)."""
    small = np.floor(amount / parts)
    return small, amount - parts * small


def in_parts(price: Callable[[Array], Array], amount: Array, parts: int) -> Array:
    """Seconds of `amount` in `parts` parts as even as they go; empty ones cost nothing."""
    if parts == 1:
        return price(amount)
    small, larger = _cut(amount, parts)
    out: Array = (parts - larger) * price(small) + larger * price(small + 1.0)
    return out


def _summed(small: Array, large: Array, amount: Array, parts: int) -> Array:
    """Over all parts, from what one of the smaller and one of the larger takes."""
    _, larger = _cut(amount, parts)
    out: Array = (parts - larger) * small + larger * large
    return out


def _mean(small: Array, large: Array, amount: Array, parts: int) -> Array:
    """The mean over parts by their size."""
    size, larger = _cut(amount, parts)
    total = (parts - larger) * size * small + larger * (size + 1.0) * large
    out: Array = total / np.maximum(amount, 1.0)
    return out


def decode_in_parts(
    price: Callable[[Array], DecodeTables], batch: Array, parts: int
) -> DecodeTables:
    """Decode attention of sequences in parts that attend to equal shares of the context."""
    if parts == 1:
        return price(batch)
    size, _ = _cut(batch, parts)
    small, large = price(size), price(size + 1.0)
    tables = {}
    for name in (f.name for f in fields(DecodeTables)):
        mix = _mean if name.endswith("key") else _summed
        tables[name] = mix(getattr(small, name), getattr(large, name), batch, parts)
    return DecodeTables(**tables)


def prefill_in_parts(
    price: Callable[[Array], PrefillTables], tokens: Array, parts: int
) -> PrefillTables:
    """Prefill attention of prompt tokens in parts that share the pairs and keys evenly."""
    if parts == 1:
        return price(tokens)
    size, _ = _cut(tokens, parts)
    small, large = price(size), price(size + 1.0)
    tables = {}
    for name in ("base", "pair", "cached", "key", "beyond"):
        mix = _summed if name == "base" else _mean
        tables[name] = mix(getattr(small, name), getattr(large, name), tokens, parts)
    return PrefillTables(**tables, chunk=small.chunk, floor=small.floor)
