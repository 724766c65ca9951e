"""What is asked of the policy: lengths of prompts and of answers, as functions of their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from sim.rl.samples import PLACES, Sample
from sim.rng import Draws
from sim.workload.lengths import Lengths

Ints = NDArray[np.int64]

ID_BITS = 20
"""Prefix-block ids of a prompt are its number and, in so many bits, the block's place in it."""


@dataclass(frozen=True, slots=True)
class _Alike(Draws):
    """Draws that samples of one prompt share in part: Z = √c · Z_prompt + √(1 − c) · Z_sample,
    whose law is that of either, and whose correlation within a prompt is c."""

    share: float = 0.0

    def normal(self, entity: ArrayLike, index: ArrayLike = 0) -> NDArray[np.float64]:
        """Standard normal, correlated within a prompt."""
        sample = np.asarray(entity, dtype=np.int64)
        mine = Draws(self.seed, self.stream).normal(sample, index)
        ours = Draws(self.seed, f"{self.stream}.of_prompt").normal(sample // PLACES, index)
        return np.asarray(np.sqrt(self.share) * ours + np.sqrt(1.0 - self.share) * mine)

    def uniform(self, entity: ArrayLike, index: ArrayLike = 0) -> NDArray[np.float64]:
        """Uniform, from the normal ones."""
        return np.asarray(ndtr(self.normal(entity, index)))

    def exponential(self, entity: ArrayLike, index: ArrayLike = 0) -> NDArray[np.float64]:
        """Exponential of mean 1, likewise."""
        return np.asarray(-np.log(self.uniform(entity, index)))


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a loop. The length of an answer depends on the seed, the prompt and the
    sample's place in its group alone: whatever the cadence, the same sample is as long."""

    prompt_tokens: Lengths
    response_tokens: Lengths
    per_prompt: int
    correlation: float
    seed: int
    base: Path | None
    block_tokens: int
    """Tokens of a prefix block; 0 = prompts are not shared."""

    def prompt_lengths(self, prompts: Ints) -> Ints:
        """(n,) tokens."""
        return self.prompt_tokens.sample(Draws(self.seed, "rl.prompt_tokens"), prompts, self.base)

    def response_lengths(self, prompts: Ints, each: int | None = None) -> Ints:
        """(n, samples per prompt, or so many) tokens."""
        each = each or self.per_prompt
        numbers = (prompts[:, None] * PLACES + np.arange(each)).reshape(-1)
        if self.correlation:
            draws: Draws = _Alike(self.seed, "rl.response_tokens", self.correlation)
        else:
            draws = Draws(self.seed, "rl.response_tokens")
        return self.response_tokens.sample(draws, numbers, self.base).reshape(-1, each)

    def block_ids(self, prompt: int, tokens: int) -> Sequence[int]:
        """Prefix blocks of a prompt, the same for all its samples."""
        if not self.block_tokens:
            return ()
        first = prompt << ID_BITS
        return range(first, first + -(-tokens // self.block_tokens))

    def session_ids(self, sample: Sample, tokens: int) -> Sequence[int]:
        """Full prefix blocks of a sample's first `tokens` tokens: those of its prompt, shared with
        its group, then its own."""
        block = self.block_tokens
        if not block:
            return ()
        shared, prompt = sample.prompt_tokens // block, sample.group.prompt
        own = tokens // block - shared
        first = -(sample.number + 1) << ID_BITS
        return _Joined(self.block_ids(prompt, shared * block), range(first, first + own))


@dataclass(frozen=True, slots=True)
class _Joined(Sequence[int]):
    """Two sequences one behind the other, as they are: thousands of ids stand for nothing until
    somebody looks."""

    one: Sequence[int]
    other: Sequence[int]

    def __len__(self) -> int:
        return len(self.one) + len(self.other)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[int]: ...
    def __getitem__(self, at: int | slice) -> int | Sequence[int]:
        """An id, or some."""
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            return [self[i] for i in range(start, stop, step)]
        shared = len(self.one)
        return self.one[at] if at < shared else self.other[at - shared]
