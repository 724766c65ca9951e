"""When a run in a sandbox is ended."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from sim.errors import suggest
from sim.settings import settings
from sim.units import Duration, parse


@settings
class Adaptive:
    """clamp(factor · T, low_s, high_s); T is the longest time that a sample of the same prompt has
    taken so far without being ended, and high_s holds before there is one."""

    factor: Annotated[float, Field(ge=1)] = 1.5
    """RollPacker's."""
    low_s: Duration = 2.0
    """RollPacker's."""
    high_s: Annotated[Duration, Field(gt=0)] = 30.0
    """RollPacker's."""

    def __post_init__(self) -> None:
        if self.low_s > self.high_s:
            raise ValueError(f"low_s {self.low_s:g} is above high_s {self.high_s:g}; swap them")

    def after(self, longest_s: float | None) -> float:
        """The time-out when the longest run so far took so long."""
        if longest_s is None:
            return self.high_s
        return min(max(self.factor * longest_s, self.low_s), self.high_s)


def _adaptive(value: object) -> object:
    if not isinstance(value, str) or value == "adaptive":
        return {} if value == "adaptive" else value
    try:
        return parse(value, "s")
    except ValueError as error:
        near = suggest(value, ["adaptive"])
        meant = near if "?" in near else ", adaptive, or {factor: 1.5, low_s: 2, high_s: 30}"
        raise ValueError(f"{error}{meant}") from error


Positive = Annotated[Duration, Field(gt=0)]

TimeoutSetting = Annotated[
    Adaptive | Positive,
    BeforeValidator(_adaptive, json_schema_input_type=Adaptive | Positive | str),
]
"""Seconds, `adaptive`, or `{factor, low_s, high_s}`."""
