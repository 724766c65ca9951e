"""Arrivals follow their laws; a closed loop keeps its clients busy and no more."""

from __future__ import annotations

import heapq
import math
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sim import plugins
from sim.errors import BrokenInvariant
from sim.rng import Draws
from sim.workload.arrivals import Arrivals
from sim.workload.arrivals.constant import Constant
from sim.workload.arrivals.gamma import Gamma
from sim.workload.arrivals.poisson import Poisson
from sim.workload.request import Happening, Request, Source
from sim.workload.source import SLICE, ClosedLoopSource, OpenSource
from sim.workload.trace import Trace

FOLDER = "sim.workload.arrivals"
DRAWS = Draws(3, "workload.arrivals")
N = 100_000
Z = 4.0  # standard errors: a sound law is outside once in 16,000 looks

SETTINGS: dict[str, dict[str, Any]] = {
    "trace": {},
    "at_once": {},
    "constant": {"rate_per_s": 5},
    "poisson": {"rate_per_s": "5 /s"},
    "gamma": {"rate_per_s": "300 /min", "cv": 2},
    "closed_loop": {"concurrency": 7, "think_time_s": "100 ms"},
}
OPEN = [n for n in plugins.names(FOLDER) if n != "closed_loop"]


def asks(n: int) -> Trace:
    rows = np.arange(1, n + 1)
    return Trace(arrival_s=np.arange(n) / 4.0, prompt_tokens=rows, output_tokens=rows)


def law(name: str) -> Arrivals:
    made: Arrivals = TypeAdapter(Annotated[Any, plugins.policy(FOLDER)]).validate_python(
        {name: SETTINGS[name]}
    )
    return made


def played(source: Source, seconds_each: float = 1.0) -> list[Request]:
    """Every request, with each served alone in a fixed time; ends are heard in order."""
    taken: list[Request] = []
    ends: list[tuple[float, int, Request]] = []
    while True:
        at = source.peek()
        if ends and (at is None or ends[0][0] <= at):
            now, _, ended = heapq.heappop(ends)
            source.on_event(Happening.FINISHED, ended, now)
        elif at is not None:
            request = source.take()
            assert request.arrival_s == at
            taken.append(request)
            heapq.heappush(ends, (at + seconds_each, request.number, request))
        else:
            return taken


@pytest.mark.parametrize("name", plugins.names(FOLDER))
def test_every_law_sends_each_request_once_in_order_of_time(name: str) -> None:
    wanted = asks(2 * SLICE + 5)
    source = law(name).source(wanted, DRAWS)
    assert source.expected == len(wanted)
    requests = played(source)
    assert [r.number for r in requests] == list(range(len(wanted)))
    assert [r.prompt_tokens for r in requests] == wanted.prompt_tokens.tolist()
    assert [r.output_tokens for r in requests] == wanted.output_tokens.tolist()
    times = [r.arrival_s for r in requests]
    assert times == sorted(times)
    assert times[0] >= 0.0
    assert source.peek() is None
    with pytest.raises(BrokenInvariant):
        source.take()


@pytest.mark.parametrize("name", plugins.names(FOLDER))
def test_requests_hold_plain_python_values(name: str) -> None:
    request = law(name).source(asks(3), DRAWS).take()
    assert type(request.arrival_s) is float
    assert type(request.number) is type(request.prompt_tokens) is type(request.output_tokens) is int


@pytest.mark.parametrize("name", OPEN)
def test_the_first_arrivals_do_not_depend_on_how_many_follow(name: str) -> None:
    few, many = (played(law(name).source(asks(n), DRAWS)) for n in (50, 5_000))
    assert few == many[:50]


@pytest.mark.parametrize("name", OPEN)
def test_open_load_does_not_answer_to_what_becomes_of_it(name: str) -> None:
    slow = played(law(name).source(asks(50), DRAWS), seconds_each=1e6)
    assert slow == played(law(name).source(asks(50), DRAWS), seconds_each=0.0)


def gaps_of(times: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, Any]:
    return np.diff(times, prepend=0.0)


def test_poisson_gaps_have_the_mean_the_cv_and_the_median_of_an_exponential() -> None:
    gaps = gaps_of(Poisson(rate_per_s=4.0).times(DRAWS, N)) * 4.0
    assert abs(gaps.mean() - 1) < Z / math.sqrt(N)
    assert abs(gaps.var() - 1) < Z * math.sqrt(8 / N)  # E[(X-1)⁴] - 1 = 8
    assert abs((gaps < math.log(2)).mean() - 0.5) < Z * 0.5 / math.sqrt(N)
    neighbours = np.corrcoef(gaps[1:], gaps[:-1])[0, 1]
    assert abs(neighbours) < Z / math.sqrt(N)


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.5])
def test_gamma_gaps_have_their_mean_and_cv(cv: float) -> None:
    gaps = gaps_of(Gamma(rate_per_s=0.5, cv=cv).times(DRAWS, N)) * 0.5
    assert abs(gaps.mean() - 1) < Z * cv / math.sqrt(N)
    excess = 6 * cv**2  # of a gamma law of shape 1 / cv²
    assert abs(gaps.var() / cv**2 - 1) < Z * math.sqrt((excess + 2) / N)


def test_constant_arrivals_are_even() -> None:
    assert Constant(rate_per_s=4.0).times(DRAWS, 4).tolist() == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("poisson", {"rate_per_s": 0}, "more than 0"),
        ("poisson", {"rate_per_s": "5 s"}, "no unit of a rate"),
        ("gamma", {"rate_per_s": 1, "cv": 0}, "more than 0"),
        ("closed_loop", {"concurrency": 0}, "at least 1"),
        ("closed_loop", {"concurrency": 1, "think_time_s": -1}, "at least 0"),
        ("trace", {"rate_per_s": 1}, "rate_per_s"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, settings: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValidationError, match=word):
        TypeAdapter(Annotated[Any, plugins.policy(FOLDER)]).validate_python({name: settings})


# ------------------------------------------------------------------ closed loop

ENDS = [Happening.FINISHED, Happening.REJECTED, Happening.FAILED]


@given(
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.5]),
    st.lists(st.tuples(st.integers(0, 100), st.sampled_from(ENDS), st.floats(0, 9)), min_size=40),
)
def test_a_closed_loop_keeps_exactly_its_concurrency_outstanding(
    n: int, concurrency: int, think_s: float, ends: list[tuple[int, Happening, float]]
) -> None:
    source = ClosedLoopSource(asks(n), concurrency, think_s)
    outstanding: list[Request] = []
    now, sent = 0.0, 0
    for which, how, seconds in ends:
        while (at := source.peek()) is not None:
            assert at >= now or sent < concurrency
            now = max(now, at)
            outstanding.append(source.take())
            sent += 1
        assert len(outstanding) == min(concurrency, n - (sent - len(outstanding)))
        if not outstanding:
            break
        ended = outstanding.pop(which % len(outstanding))
        now += seconds
        source.on_event(Happening.FIRST_TOKEN, ended, now)
        assert source.peek() is None
        source.on_event(how, ended, now)
        assert source.peek() == (now + think_s if sent < n else None)
    assert sent == n


def test_a_rejected_request_frees_its_client_at_once() -> None:
    source = ClosedLoopSource(asks(1000), 2)
    for _ in range(1000):
        request = source.take()
        source.on_event(Happening.REJECTED, request, 0.0)
    assert source.peek() is None


def test_a_request_that_ends_twice_is_a_bug() -> None:
    source = ClosedLoopSource(asks(3), 1)
    request = source.take()
    source.on_event(Happening.FAILED, request, 1.0)
    with pytest.raises(BrokenInvariant, match="request 0 ended"):
        source.on_event(Happening.FINISHED, request, 2.0)


def test_thinking_clients_ask_in_the_order_in_which_they_are_ready() -> None:
    source = ClosedLoopSource(asks(4), 2, think_time_s=1.0)
    first, second = source.take(), source.take()
    source.on_event(Happening.FINISHED, second, 5.0)
    source.on_event(Happening.FINISHED, first, 5.5)
    assert (source.take().arrival_s, source.take().arrival_s) == (6.0, 6.5)


def test_an_open_source_hands_out_the_very_trace() -> None:
    wanted = asks(10)
    assert OpenSource(wanted).asks is wanted
