"""Long answers are put off and packed into rounds of their own (RollPacker, arXiv 2509.21009).

A short round begins more prompts, with more samples each, than are trained on. A prompt of which
the wanted number of samples are there is taken, and its other samples end; when enough prompts are
taken the others are put off: what they have is thrown away. When a whole batch has been put off it
is made in a long round, to its end. Every prompt is trained on, and most steps do not wait for a
long tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sim.rl.cadences import Steps
from sim.rl.samples import IN_FLIGHT, Group, Sample
from sim.settings import settings

if TYPE_CHECKING:
    from sim.rl.loop import Loop


@settings
class TailPacking:
    """Short rounds and long rounds."""

    prompts_factor: Annotated[float, Field(ge=1, le=100)] = 1.25
    """Prompts begun in a short round over prompts trained on: RollPacker's."""
    samples_factor: Annotated[float, Field(ge=1, le=100)] = 1.25
    """Samples begun of each prompt over samples trained on: RollPacker's."""

    def __post_init__(self) -> None:
        if self.prompts_factor == self.samples_factor == 1:
            raise ValueError(
                "tail_packing with both factors 1 puts nobody off; write cadence: synchronous, or "
                "a factor above 1"
            )

    def check(self, colocated: bool, pulls: bool) -> None:
        """Any placement."""

    def play(self, loop: Loop) -> Steps:
        """Rounds, each a step."""
        wanted, put_off = loop.prompts_per_step, list[Group]()
        for _ in range(loop.steps):
            if len(put_off) >= wanted:
                loop.submit_again(put_off[:wanted])
                del put_off[:wanted]
            else:
                race = _Race(loop, wanted, loop.rollouts.prompts.per_prompt, put_off)
                loop.rollouts.on_left = race.left
                prompts = math.ceil(self.prompts_factor * wanted)
                race.begun = loop.submit(prompts, math.ceil(self.samples_factor * race.samples))
            yield from loop.wait_for(wanted)
            yield from loop.drained()
            loop.rollouts.on_left = _nobody_waits
            groups = loop.take(wanted)
            yield from loop.train(groups)
            yield from loop.sync()
            loop.close_step(groups)

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []


def _nobody_waits(sample: Sample) -> None:
    """Between races."""


@dataclass(eq=False, slots=True)
class _Race:
    """A short round: whose samples are there first."""

    loop: Loop
    prompts: int
    samples: int
    """Wanted of each prompt."""
    put_off: list[Group]
    begun: list[Group] = field(default_factory=list)
    _there: dict[Group, int] = field(default_factory=dict)
    """Samples with their last token, by group."""
    _taken: set[Group] = field(default_factory=set)

    def left(self, sample: Sample) -> None:
        """A sample has its last token, or was given up."""
        group = sample.group
        if sample.state != IN_FLIGHT:
            return
        self._there[group] = self._there.get(group, 0) + 1
        if self._there[group] != self.samples or len(self._taken) == self.prompts:
            return
        self._taken.add(group)
        for other in group.samples:
            if other.generated_s != other.generated_s:
                self.loop.rollouts.abort(other)
        if len(self._taken) == self.prompts:
            late = [g for g in self.begun if g not in self._taken]
            self.put_off += late
            self.loop.abandon(late)
