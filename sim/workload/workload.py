"""The `workload:` block of a scenario: what is asked, when, and how to make a source of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from sim import plugins
from sim.plugins import policy
from sim.rng import Draws
from sim.settings import settings
from sim.units import PositiveInt
from sim.workload.arrivals import Arrivals
from sim.workload.arrivals.trace import TraceTimes
from sim.workload.lengths import Lengths
from sim.workload.readers import Reader
from sim.workload.readers.auto import Auto
from sim.workload.reading import read_trace
from sim.workload.request import Source
from sim.workload.trace import Trace

ReaderSetting = Annotated[Reader, policy("sim.workload.readers")]
ArrivalsSetting = Annotated[Arrivals, policy("sim.workload.arrivals")]
LengthsSetting = Annotated[Lengths, policy("sim.workload.lengths")]


@settings
class Workload:
    """A trace replayed, a trace's requests at other times, or requests made from laws.

    With a `path`, what is asked comes from the trace, in its order; the times too, unless
    `arrivals` names another law. Without one, both lengths, a law of arrivals and the number of
    `requests` are needed. A setting that would do nothing in its combination is refused.
    """

    path: str | None = None
    """A trace; relative to the current directory, else to the scenario or a folder above it."""
    reader: ReaderSetting = Auto()
    """The trace's format."""
    arrivals: ArrivalsSetting = TraceTimes()
    """When requests are sent."""
    time_scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the trace's times: 0.5 is twice the load."""
    requests: PositiveInt | None = None
    """How many are sent: the first of a trace (all when left out), or how many to make."""
    prompt_tokens: LengthsSetting | None = None
    """Law of the prompts' lengths, without a trace."""
    output_tokens: LengthsSetting | None = None
    """Law of the answers' lengths, without a trace."""

    def __post_init__(self) -> None:
        if self.path is None:
            self._check_generated()
        else:
            self._check_replayed(self.path)

    def _check_replayed(self, path: str) -> None:
        law = plugins.name_of(self.arrivals)
        for name in ("prompt_tokens", "output_tokens"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} has no effect with path {path!r}, whose lengths are taken; "
                    f"leave out {name} or path"
                )
        if self.time_scale != 1.0 and not self.arrivals.uses_trace_times:
            raise ValueError(
                f"time_scale {self.time_scale} has no effect with arrivals '{law}', which makes "
                "its own times; set the law's rate, or write arrivals: trace"
            )

    def _check_generated(self) -> None:
        law = plugins.name_of(self.arrivals)
        if self.arrivals.uses_trace_times:
            others = [n for n in plugins.names("sim.workload.arrivals") if n != law]
            raise ValueError(
                f"arrivals '{law}' needs a trace and there is no path; give a path, or another law "
                f"of arrivals: {', '.join(others)}"
            )
        for name in ("prompt_tokens", "output_tokens", "requests"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is needed without a trace; write it or give a path")
        if self.time_scale != 1.0:
            raise ValueError(
                f"time_scale {self.time_scale} has no effect without a path; leave it out and set "
                f"the rate of arrivals '{law}'"
            )
        if self.reader != Auto():
            raise ValueError(
                f"reader '{plugins.name_of(self.reader)}' has no effect without a path; "
                "leave it out or give a path"
            )

    def asks(self, seed: int, base: Path | None = None) -> Trace:
        """What is asked; the times count only for a law that uses the trace's.

        `base` is the scenario file's folder. Raises ScenarioError for a file that is missing or
        damaged, and when more `requests` are wanted than the trace has.
        """
        if self.path is None:
            return self._generated(seed, base)
        trace = read_trace(self.path, self.reader, base)
        if self.requests is not None:
            trace = trace.first(self.requests)
        if self.time_scale != 1.0:
            trace = trace.timed(trace.arrival_s * self.time_scale)
        return trace

    def _generated(self, seed: int, base: Path | None) -> Trace:
        if self.prompt_tokens is None or self.output_tokens is None or self.requests is None:
            raise ValueError("lengths and requests are needed without a trace")
        numbers = np.arange(self.requests, dtype=np.int64)
        prompts = Draws(seed, "workload.prompt_tokens")
        outputs = Draws(seed, "workload.output_tokens")
        return Trace(
            arrival_s=np.zeros(self.requests),
            prompt_tokens=self.prompt_tokens.sample(prompts, numbers, base),
            output_tokens=self.output_tokens.sample(outputs, numbers, base),
        )

    def open(self, seed: int, base: Path | None = None) -> Source:
        """The clients, before their first request. The same seed makes the same requests."""
        return self.arrivals.source(self.asks(seed, base), Draws(seed, "workload.arrivals"))
