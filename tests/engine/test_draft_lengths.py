"""Who chooses the draft length, and what is played of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Run, generated, play, serving, steady

from sim import plugins
from sim.engine.speculations import DraftServices, Situation
from sim.engine.speculations.by_acceptance import ByAcceptance
from sim.engine.speculations.by_batch import ByBatch
from sim.engine.speculations.quickest import Quickest

NEEDED: dict[str, Any] = {"by_batch": {"lengths": {2: 4, 8: 1}}}


def services(most: int = 5, gain: Any = lambda now, drafts: 1.0) -> DraftServices:
    return DraftServices(most, gain)


def with_(sequences: int, **known: Any) -> Situation:
    usual = {"context_tokens": 100 * sequences, "drafts": 5, "steps": 64, "accepted": 2.0}
    return Situation(sequences=sequences, **(usual | known))


def run(length: Any, arrivals: Any, rate: float = 0.75, requests: int = 30) -> Run:
    draft = {"eagle": {"acceptance": {"iid": rate}, "draft_tokens": 5}}
    pool = {
        "speculation": draft,
        "draft_length": length,
        "timer": steady(0.01),
        "engine": {"max_num_seqs": 64},
    }
    return play(serving(generated(requests, 1, 200, arrivals), pools={"serve": pool}))


@pytest.mark.parametrize("name", plugins.names("sim.engine.speculations"))
def test_every_policy_stays_between_nothing_and_the_longest_draft(name: str) -> None:
    length = {name: NEEDED[name]} if name in NEEDED else name
    steps = run(length, {"poisson": {"rate_per_s": 10.0}}).table("steps")
    assert steps["draft_tokens"].between(0, 5).all()
    assert (steps["accepted"] <= steps["drafts"]).all()


def test_a_table_of_lengths_is_followed_and_a_bound_is_not_passed_back_at_once() -> None:
    chooser = ByBatch(lengths={2: 4, 10: 1}, hysteresis=0.2).start(services())
    asked = [1, 2, 3, 10, 11, 10, 9, 8, 3, 2, 1]
    drafted = [chooser.length(with_(n)) for n in asked]
    assert drafted == [4, 4, 1, 1, 0, 0, 0, 1, 1, 1, 4]


def test_a_played_table_drafts_by_the_number_that_decode() -> None:
    steps = run({"by_batch": {"lengths": {2: 4, 8: 1}, "hysteresis": 0}},
                {"poisson": {"rate_per_s": 12.0}}).table("steps")  # fmt: skip
    rows = steps[steps["decodes"] > 0]
    wanted = np.select([rows["decodes"] <= 2, rows["decodes"] <= 8], [4, 1], 0)
    assert (rows["draft_tokens"] == wanted).all()
    assert len(set(wanted)) >= 2


def test_what_is_accepted_is_followed_one_draft_ahead() -> None:
    chooser = ByAcceptance(weight=1.0, every=64, off_above=8).start(services())
    assert chooser.length(with_(1, steps=0, drafts=0)) == 5
    assert chooser.length(with_(1, accepted=1.2)) == 2
    assert chooser.length(with_(1, accepted=0.1)) == 1
    assert chooser.length(with_(9, accepted=3.0)) == 0
    assert chooser.length(with_(8, accepted=3.0, steps=0, drafts=0)) == 4


@pytest.mark.parametrize(("rate", "low", "high"), [(0.2, 1, 1), (0.95, 4, 5)])
def test_a_played_run_learns_how_far_it_pays_to_draft(rate: float, low: int, high: int) -> None:
    one = {"closed_loop": {"concurrency": 4}}
    steps = run({"by_acceptance": {"weight": 0.5}}, one, rate, 40).table("steps")
    late = steps[(steps["start_s"] > steps["end_s"].max() / 2) & (steps["decodes"] > 0)]
    assert late["draft_tokens"].between(low, high).mean() > 0.9


def test_the_quickest_length_is_kept_until_another_is_clearly_quicker() -> None:
    best = {1: 3}

    def gain(now: Situation, drafts: int) -> float:
        return 2.0 - 0.1 * abs(drafts - best[1])

    chooser = Quickest(tolerance=0.02, within=0.125).start(services(gain=gain))
    assert chooser.length(with_(8)) == 3
    best[1] = 5
    assert chooser.length(with_(9)) == 3  # near enough to what was priced
    assert chooser.length(with_(10)) == 5


def test_plain_decoding_is_chosen_where_drafts_do_not_pay() -> None:
    chooser = Quickest().start(services(gain=lambda now, drafts: 0.9))
    assert chooser.length(with_(8)) == 0
