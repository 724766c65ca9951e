"""How long things outside the GPUs take: a law of seconds, drawn by sample."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from sim.rl.samples import PLACES, Sample
from sim.rng import Draws
from sim.settings import settings
from sim.units import Duration


@settings
class Durations:
    """Log-normal seconds; always the same where `cv` is 0."""

    mean_s: Duration
    """Mean, before `max_s`."""
    cv: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Standard deviation over mean."""
    max_s: Duration | None = None
    """Longer ones take this long."""

    def seconds(self, normal: NDArray[np.float64]) -> NDArray[np.float64]:
        """As many durations as standard normal numbers: m · exp(σ·Z − σ²/2), σ² = ln(1 + cv²)."""
        variance = math.log1p(self.cv**2)
        found = self.mean_s * np.exp(math.sqrt(variance) * normal - variance / 2.0)
        return np.asarray(np.minimum(found, np.inf if self.max_s is None else self.max_s))

    def drawn(self, draws: Draws) -> BySample:
        """A duration for every (sample, index)."""
        if not self.cv:
            always = min(self.mean_s, math.inf if self.max_s is None else self.max_s)
            return BySample(lambda who, index: np.full(who.shape, always))
        return BySample(lambda who, index: self.seconds(draws.normal(who, index)))


def _plain(value: object) -> object:
    return value if isinstance(value, (dict, Durations)) else {"mean_s": value}


DurationsSetting = Annotated[
    Durations, BeforeValidator(_plain, json_schema_input_type=Durations | float | str)
]
"""A number of seconds, or `{mean_s: …, cv: …, max_s: …}`."""

_PROMPTS, _IN_GROUP, _KEPT = 64, 32, 256
"""Prompts and places that are drawn for at once, and how many such blocks are kept."""


@dataclass(eq=False, slots=True)
class BySample:
    """Numbers by sample, drawn for many at once (a draw alone costs 20 µs), the same whoever asks
    first."""

    law: Callable[[NDArray[np.int64], int], NDArray[np.float64]]
    """(sample's numbers, index) → numbers."""
    _blocks: OrderedDict[tuple[int, int, int], NDArray[np.float64]] = field(
        default_factory=OrderedDict
    )

    def of(self, sample: Sample, index: int = 0) -> float:
        """The number of a sample; `index` tells several of one sample apart."""
        block, row = divmod(sample.group.prompt, _PROMPTS)
        part, column = divmod(sample.index, _IN_GROUP)
        key = (block, part, index)
        known = self._blocks.get(key)
        if known is None:
            prompts = np.arange(block * _PROMPTS, (block + 1) * _PROMPTS)
            places = np.arange(part * _IN_GROUP, (part + 1) * _IN_GROUP)
            known = self._blocks[key] = self.law(prompts[:, None] * PLACES + places, index)
            if len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return float(known[row, column])
