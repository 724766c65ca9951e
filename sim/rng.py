"""Random numbers as functions of (seed, stream, entity, index): no state, any order, any batch.

A draw does not depend on which other draws were made, so that changing the router leaves the
arrivals, lengths and acceptances untouched and two runs can be compared request by request.
The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), applied per coordinate.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_ALL = (1 << 64) - 1
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        z = z + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _M1
        z = (z ^ (z >> np.uint64(27))) * _M2
        return z ^ (z >> np.uint64(31))


@lru_cache(maxsize=256)
def _root(seed: int, stream: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _mix_in_place(z: NDArray[np.uint64], spare: NDArray[np.uint64]) -> None:
    """`_mix` of an array, without making others."""
    np.add(z, _GOLDEN, out=z)
    for shift, factor in ((_S30, _M1), (_S27, _M2)):
        np.right_shift(z, shift, out=spare)
        np.bitwise_xor(z, spare, out=z)
        np.multiply(z, factor, out=z)
    np.right_shift(z, _S31, out=spare)
    np.bitwise_xor(z, spare, out=z)


def bits_at(keys: NDArray[np.uint64], first: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """(entities, count) 64 random bits, the same as `Draws.bits` at indices first, first + 1, … of
    the entities whose `Draws.key` are given. For draws by the million."""
    index = np.asarray(first[:, None] + np.arange(count), dtype=np.uint64)
    np.bitwise_xor(index, keys[:, None], out=index)
    spare = np.empty_like(index)
    _mix_in_place(index, spare)
    _mix_in_place(index, spare)
    return index


@dataclass(frozen=True, slots=True)
class Draws:
    """A named stream of draws under one seed."""

    seed: int
    stream: str

    def _key(self) -> NDArray[np.uint64]:
        return np.asarray(_root(self.seed, self.stream), dtype=np.uint64)

    def bits(self, entity: ArrayLike, index: ArrayLike = 0) -> NDArray[np.uint64]:
        """64 random bits for every (entity, index), broadcast against each other."""
        e = np.asarray(entity, dtype=np.int64).astype(np.uint64)
        i = np.asarray(index, dtype=np.int64).astype(np.uint64)
        return _mix(_mix(_mix(self._key()[()] ^ _mix(e)) ^ i))

    def keys(self, entities: NDArray[np.int64]) -> NDArray[np.uint64]:
        """What of `bits` depends on the entity alone, for `bits_at`."""
        return _mix(self._key()[()] ^ _mix(entities.astype(np.uint64)))

    def uniform(self, entity: ArrayLike, index: ArrayLike = 0) -> NDArray[np.float64]:
        """Numbers in the open interval (0, 1), 53 bits."""
        top = (self.bits(entity, index) >> np.uint64(11)).astype(np.float64)
        return np.asarray((top + 0.5) * 2.0**-53)

    def normal(self, entity: ArrayLike, index: ArrayLike = 0) -> NDArray[np.float64]:
        """Standard normal numbers (Box and Muller, 1958); uses two uniforms per draw."""
        i = np.asarray(index, dtype=np.int64)
        u, v = self.uniform(entity, 2 * i), self.uniform(entity, 2 * i + 1)
        return np.asarray(np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * v))

    def exponential(self, entity: ArrayLike, index: ArrayLike = 0) -> NDArray[np.float64]:
        """Exponential numbers of mean 1."""
        return np.asarray(-np.log(self.uniform(entity, index)))

    def generator(self, entity: int = 0) -> np.random.Generator:
        """A numpy generator of its own for laws without a simple inverse (gamma)."""
        return np.random.Generator(np.random.Philox(key=int(self.bits(entity)[()])))
