"""Programs that are run against tests: durations with a tail, some that never end, and a time-out.

A fixed time-out waits long for answers that hang. RollPacker (arXiv 2509.21009) adapts it to what
correct answers to the same prompt took: clamp(1.5 · T, 2 s, 30 s).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from sim.rl.durations import BySample, DurationsSetting
from sim.rl.rewards import RewardServices
from sim.rl.rewards._timeouts import Adaptive, TimeoutSetting
from sim.rl.samples import Sample
from sim.rl.workers import Workers
from sim.settings import settings
from sim.units import PositiveInt


@settings
class Sandbox:
    """Run, with a time-out."""

    seconds: DurationsSetting
    """Of one sample in one sandbox."""
    workers: PositiveInt = 64
    """Sandboxes that run at once. assumed: half of the cores of one host."""
    timeout: TimeoutSetting | None = None
    """Seconds after which a run is ended: a number, `adaptive`, or `{factor, low_s, high_s}`."""
    hangs: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the samples whose run never ends by itself."""
    on_timeout: Literal["zero", "drop"] = "zero"
    """What a run that was ended is worth: a reward of nothing, or the sample is given up."""

    def __post_init__(self) -> None:
        if self.hangs and self.timeout is None:
            raise ValueError(
                f"hangs {self.hangs:g} without timeout: those samples would never be scored; write "
                "timeout: 30, or timeout: adaptive"
            )
        if self.on_timeout == "drop" and self.timeout is None:
            raise ValueError(
                "on_timeout drop has no effect without timeout; leave it out, or write a timeout"
            )

    @property
    def served(self) -> None:
        """No model."""
        return

    def start(self, services: RewardServices) -> _Sandbox:
        """All sandboxes free."""
        draws = services.draws
        chance = BySample(lambda who, index: draws.uniform(who, 1_000_000))
        seconds = self.seconds.drawn(draws)
        return _Sandbox(self, seconds, chance, Workers(services.clock, self.workers))

    def assumptions(self) -> list[dict[str, str]]:
        """The clamp's source, where it is used."""
        if not isinstance(self.timeout, Adaptive):
            return []
        source = "RollPacker, arXiv 2509.21009; assumed: T is the longest run of the same prompt"
        a = self.timeout
        value = f"clamp({a.factor:g} T, {a.low_s:g} s, {a.high_s:g} s)"
        return [{"what": "reward time-out", "value": value, "source": source}]


@dataclass(eq=False, slots=True)
class _Sandbox:
    settings: Sandbox
    seconds: BySample
    chance: BySample
    workers: Workers
    _longest: dict[int, float] = field(default_factory=dict)
    """By prompt."""

    def score(self, sample: Sample, done: Callable[[Sample, bool], None]) -> None:
        kept = True

        def seconds() -> float:
            nonlocal kept
            hangs = self.settings.hangs and self.chance.of(sample) < self.settings.hangs
            needed = float("inf") if hangs else self.seconds.of(sample)
            limit, prompt = self._limit(sample), sample.group.prompt
            if needed <= limit:
                self._longest[prompt] = max(needed, self._longest.get(prompt, 0.0))
                return needed
            kept = self.settings.on_timeout == "zero"
            return limit

        def scored(waited_s: float) -> None:
            sample.reward_wait_s = waited_s
            done(sample, kept)

        self.workers.do(seconds, scored)

    def _limit(self, sample: Sample) -> float:
        limit = self.settings.timeout
        if limit is None:
            return float("inf")
        if not isinstance(limit, Adaptive):
            return limit
        return limit.after(self._longest.get(sample.group.prompt))
