"""Passes of a closed loop, worked out before they have a price."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.search.columns import columns
from sim.search.schedule import Load, Rules, Schedule, play_passes

loads = st.builds(Load, st.integers(1, 12), st.integers(1, 50), st.integers(1, 20))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    mixed = draw(st.booleans())
    slots = draw(st.sampled_from([1, 1, 2, 3])) if mixed else 1
    places = draw(st.integers(1, 14))
    budget = places + draw(st.integers(0, 60))
    return play_passes(draw(loads), Rules(budget, places, mixed, slots), rounds=3)


@given(schedules())
def test_every_prompt_is_computed_once_and_in_order(s: Schedule) -> None:
    done = len(s.first)
    per_request: list[int] = []
    for tokens, offset in zip(s.chunk_tokens, s.chunk_offset, strict=True):
        if offset == 0:
            per_request.append(0)
        assert per_request[-1] == offset
        per_request[-1] += int(tokens)
    assert per_request[:done] == [s.load.prompt_tokens] * done
    assert all(p < s.load.prompt_tokens for p in per_request[done:])


@given(schedules())
def test_no_pass_takes_more_than_its_budget_nor_more_members_than_places(s: Schedule) -> None:
    c = columns(s, ())
    riding = c["decodes"] if s.rules.mixed else 0 * c["decodes"]
    assert (c["prefill_tokens"] + riding <= s.rules.budget_tokens).all()
    assert (c["decodes"] <= s.rules.places).all()
    if not s.rules.mixed:
        assert not ((c["decodes"] > 0) & (c["prefill_tokens"] > 0)).any()


@given(schedules(), st.integers(1, 80))
def test_sums_over_members_are_those_of_the_members(s: Schedule, cap: int) -> None:
    c, more = columns(s, (cap,)), s.load.output_tokens - 1
    contexts: list[list[int]] = [[] for _ in range(s.passes)]
    for begin in s.decode_from.tolist():
        for i in range(more):
            tick = begin + i * s.rules.slots
            if tick < len(s.pass_of_tick):
                contexts[s.pass_of_tick[tick]].append(s.load.prompt_tokens + 1 + i)
    assert c["decodes"].tolist() == [len(x) for x in contexts]
    assert c["context_tokens"].tolist() == [sum(x) for x in contexts]
    assert c["capped_1"].tolist() == [sum(min(k, cap) for k in x) for x in contexts]


@given(schedules())
def test_a_client_asks_when_it_was_answered(s: Schedule) -> None:
    c = s.load.clients
    answered = np.sort(s.last[s.last < s.passes])
    asked = s.asks[c:]
    assert (asked == answered[: len(asked)]).all()
    assert (s.asks[:c] == -1).all()
    assert (s.first > s.asks).all()


def test_prompts_that_fill_a_pass_each_make_one_mixed_pass_each() -> None:
    """Four clients, a budget of one prompt beside three decodes: a round has n − 1 + 1 passes, and
    four of them are mixed."""
    s = play_passes(Load(4, 100, 21), Rules(103, 8), rounds=6)
    c = columns(s, ())
    settled = slice(3 * 21, 5 * 21)
    assert (c["prefill_tokens"][settled] > 0).sum() == 2 * 4
    assert c["prefills"][settled].max() == 1
    assert set(s.last - s.asks) >= {21}


def test_where_prompts_need_more_passes_than_there_are_all_are_mixed() -> None:
    s = play_passes(Load(8, 100, 5), Rules(60, 8), rounds=6)
    c = columns(s, ())
    assert (c["prefill_tokens"][20:] > 0).mean() == pytest.approx(1.0)
