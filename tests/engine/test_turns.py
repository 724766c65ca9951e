"""Turns at the first stage of a pipeline: nobody is passed by, and a full pipeline stays full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers import Ask, Run, play_asks, steady

from sim.clock import ARRIVAL
from sim.scenario.build import Built

SLOW_FIRST = {"roofline": {"host_s": 0.02}}
"""The host's share of a step, far more than all the rest, is the first stage's."""


def pipeline(
    asks: Sequence[Ask],
    stages: int,
    timer: Any,
    meddle: Callable[[Built], None] | None = None,
    **engine: Any,
) -> Run:
    pool = {"layout": {"tensor": {"pp": stages}}, "timer": timer, "engine": engine}
    return play_asks(asks, topology="dgx_h100", pools={"serve": pool}, meddle=meddle)


def ends_by_slot(run: Run) -> dict[int, np.ndarray[Any, Any]]:
    clock = run.table("clock")
    return {int(slot): rows["end_s"].to_numpy() for slot, rows in clock.groupby("slot")}


def most_overtaken(run: Run) -> int:
    """Passes that another slot ended between two passes of a slot that decodes, at most."""
    ends, most = ends_by_slot(run), 0
    stays = run.table("intervals")
    for stay in stays[stays["last_step"] > stays["first_step"]].to_dict("records"):
        mine = ends[stay["slot"]][int(stay["first_step"]) : int(stay["last_step"]) + 1]
        for slot, others in ends.items():
            if slot != stay["slot"]:
                for before, after in pairwise(mine):
                    most = max(most, int(((others > before) & (others < after)).sum()))
    return most


@pytest.mark.parametrize("stages", [2, 4, 8])
@pytest.mark.parametrize("timer", ["roofline", SLOW_FIRST], ids=["roofline", "slow first"])
@pytest.mark.parametrize("every_s", [0.0, 0.013], ids=["at once", "one by one"])
def test_nobody_who_decodes_is_passed_by_twice(stages: int, timer: Any, every_s: float) -> None:
    asks = [Ask(every_s * i, 20 + 300 * (i % 5), 30 + i % 17) for i in range(3 * stages)]
    run = pipeline(asks, stages, timer)
    assert run.requests["first_token_s"].notna().all()
    assert most_overtaken(run) <= 1


@pytest.mark.parametrize("stages", [4, 8])
def test_those_who_come_together_begin_and_end_together(stages: int) -> None:
    """A request a slot, where one stage is the bottleneck: nobody waits for another to end."""
    run = pipeline([Ask(0.0, 20, 100) for _ in range(stages)], stages, SLOW_FIRST)
    first, last = run.requests["first_token_s"], run.requests["end_s"]
    each = (last - first) / 99
    print(f"\nfirst tokens {first.min():.3f} … {first.max():.3f} s, each {each.mean():.4f} s")
    assert first.max() < 2 * stages * 0.04
    assert each.max() <= 1.05 * each.min()


def test_a_slot_more_is_not_opened_where_the_first_stage_is_always_taken() -> None:
    """The first stage takes more than half of a pass, so two slots fill it. Everybody decodes in
    one of the two, at twice the rate of four slots that take turns."""
    run = pipeline([Ask(0.0, 20, 200) for _ in range(4)], 4, SLOW_FIRST)
    ends = ends_by_slot(run)
    decoding = [slot for slot, each in ends.items() if len(each) > 100]
    assert len(decoding) == 2
    every = np.sort(np.concatenate(list(ends.values())))
    taken = float(np.median(np.diff(every)))
    each = (run.requests["end_s"] - run.requests["first_token_s"]) / 199
    assert each.to_numpy() == pytest.approx(np.full(4, 2 * taken), rel=0.05)


def test_newcomers_share_the_slots_of_a_full_pipeline() -> None:
    """Eight who come after the two slots were filled are spread evenly over these."""
    asks = [Ask(0.0, 20, 300) for _ in range(2)] + [Ask(1.0, 20, 200) for _ in range(8)]
    run = pipeline(asks, 4, SLOW_FIRST)
    steps = run.table("steps")
    middle = steps[(steps["start_s"] > 1.5) & (steps["end_s"] < 4.0)]
    assert sorted(middle.groupby("slot")["decodes"].max()) == [5, 5]


def test_a_full_pipeline_stays_full_while_members_come_and_go() -> None:
    """Forty wait for eight places and differ in length: with equal stages, some slot ends a pass
    every stage time all the while."""
    asks = [Ask(0.0, 4, 30 + 7 * i % 40) for i in range(40)]
    run = pipeline(asks, 4, steady(1.0), max_num_seqs=8, max_num_batched_tokens=8)
    ends = np.sort(run.table("clock")["end_s"].to_numpy())
    gaps = np.diff(ends[(ends > 10) & (ends < 100)])
    assert len(gaps) > 300
    assert gaps == pytest.approx(np.full(len(gaps), 0.25))


def test_after_a_fault_the_stages_are_free_at_once() -> None:
    """The slots that waited for a long prompt in the first stage begin when the engine does."""

    def meddle(built: Built) -> None:
        levers = built.pools[0].engines[0].levers
        for time_s, deed in ((1.3, levers.abort), (1.4, levers.resume)):
            event = built.clock.at(time_s, ARRIVAL + 1000)
            event.callbacks.append(lambda _, deed=deed: deed())

    asks = [Ask(0.0, 4, 50), Ask(0.1, 4, 50), Ask(1.05, 4000, 2), Ask(1.5, 4, 3)]
    run = pipeline(asks, 4, steady(0.2, 0.001), meddle, max_num_batched_tokens=4096)
    late = run.requests.iloc[3]
    assert late["first_token_s"] == pytest.approx(1.5 + 0.2 + 4 * 0.001)
