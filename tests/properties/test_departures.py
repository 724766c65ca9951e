"""Sequences taken out, moved, given up or sent back at any moment: none is lost or made twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers import Ask, Meddle, Run, assert_same_tables
from helpers.cases import ONE_STAGE, Case, cases, speculating, split_cases
from helpers.drafts import every_stay_gave_what_was_drawn
from helpers.laws import all_holds, recomputed_tokens_are_those_computed_twice
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.clock import ARRIVAL
from sim.engine.engine import Engine
from sim.measure.summary import measure
from sim.record.run_folder import RunFolder
from sim.scenario.build import Built

AFTER_ARRIVALS = ARRIVAL + 1000


@dataclass(frozen=True)
class Deed:
    """Something done at some time to a request (the `which`-th that is inside) or an engine."""

    at_s: float
    what: str
    which: int = 0
    engine: int = 0
    lasts_s: float = 0.0


class Doer:
    """Does the deeds, and keeps count of what it was told."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.engines: list[Engine] = [e for p in built.pools for e in p.engines]
        self.versions = 0
        self.pauses = dict.fromkeys(self.engines, 0)

    def do(self, deed: Deed) -> None:
        getattr(self, deed.what)(deed)

    def _number(self, deed: Deed) -> int | None:
        inside = sorted(self.built.cluster._inside)
        return inside[deed.which % len(inside)] if inside else None

    def cancel(self, deed: Deed) -> None:
        number = self._number(deed)
        if number is not None:
            self.built.cluster.cancel(number)

    def move(self, deed: Deed) -> None:
        number = self._number(deed)
        if number is None:
            return
        target = self.engines[deed.engine % len(self.engines)]
        sequence = self.built.cluster._inside[number][1]
        rank = deed.which % len(target.ranks)
        target.port.move(sequence, target, rank, send_kv=deed.lasts_s > 0)  # type: ignore[attr-defined]

    def keep(self, deed: Deed) -> None:
        self._update(deed, keep_kv=True)

    def recompute(self, deed: Deed) -> None:
        self._update(deed, keep_kv=False)

    def _update(self, deed: Deed, *, keep_kv: bool) -> None:
        """Pause, and when the engine is quiet give it new weights; go on later."""
        engine, clock = self.engines[deed.engine % len(self.engines)], self.built.clock
        self.versions += 1
        version = self.versions
        self.pauses[engine] += 1

        def update() -> None:
            engine.levers.flush(keep_kv=keep_kv)
            engine.levers.set_version(max(engine.version, version))
            clock.at(clock.now + deed.lasts_s, AFTER_ARRIVALS).callbacks.append(lambda _: resume())

        def resume() -> None:
            self.pauses[engine] -= 1
            if not self.pauses[engine]:
                engine.levers.resume()

        engine.levers.pause()
        engine.levers.quiet(update)


def doing(deeds: list[Deed]) -> Meddle:
    def meddle(built: Built) -> None:
        doer = Doer(built)
        for i, deed in enumerate(deeds):
            event = built.clock.at(deed.at_s, AFTER_ARRIVALS + 1 + i)
            event.callbacks.append(lambda _, deed=deed: doer.do(deed))

    return meddle


SENT_BACK_ACROSS_SLOTS = Case(
    machine="pipeline",
    asks=tuple(Ask(0.0, prompt, output) for prompt, output in ((1, 1), (1, 2), (4, 2), (1, 1))),
    trace_block=4,
    engine={
        "block_size": 4,
        "max_num_seqs": 3,
        "max_num_batched_tokens": 3,
        "batcher": "chunked_prefill",
        "order": "fcfs",
        "preemption": "recompute",
    },
    timer="roofline",
    room=1.0,
)
"""A prompt whose chunks travel in two slots is sent back and computed again in the first of them:
its second stay begins after the first one's chunk there."""


def deeds(*what: str) -> st.SearchStrategy[list[Deed]]:
    one = st.builds(
        Deed,
        at_s=st.one_of(st.floats(0.0, 0.5), st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.1])),
        what=st.sampled_from(what),
        which=st.integers(0, 7),
        engine=st.integers(0, 3),
        lasts_s=st.sampled_from([0.0, 0.005, 0.1]),
    )
    return st.lists(one, min_size=1, max_size=8)


def nothing_is_left(run: Run) -> None:
    """No gauge, reservation or unit of anybody."""
    for engine in run.engines:
        assert [int(x) for x in engine.gauges.load] == [0] * len(engine.ranks)
        assert not engine.departures.awaited
        for rank in engine.ranks:
            assert rank.cache.used == 0
            assert not rank.room.asked


@given(case=cases(until=False), todo=deeds("move", "keep", "recompute"))
@settings(max_examples=15)
def test_who_is_moved_or_interrupted_gets_all_tokens_and_holds_nothing_in_the_end(
    case: Case, todo: list[Deed]
) -> None:
    run = case.play(meddle=doing(todo))
    all_holds(run, len(case.asks))
    nothing_is_left(run)
    assert (run.requests["state"] == "finished").all()


@given(case=cases(until=False), todo=deeds("cancel", "move", "keep", "recompute"))
@settings(max_examples=15)
def test_whoever_is_given_up_ends_as_cancelled_and_the_others_finish(
    case: Case, todo: list[Deed]
) -> None:
    run = case.play(meddle=doing(todo))
    all_holds(run, len(case.asks))
    nothing_is_left(run)
    assert set(run.requests["state"]) <= {"finished", "cancelled"}
    gone = run.requests[run.requests["state"] == "cancelled"]
    assert (gone["reason"] == "client").all()
    assert (gone["generated_tokens"] < gone["output_tokens"]).all()


@given(case=split_cases(orders=("fcfs",)), todo=deeds("cancel", "keep", "recompute"))
@settings(max_examples=15)
def test_giving_up_at_any_stage_of_a_handoff_frees_both_ends(case: Case, todo: list[Deed]) -> None:
    run = case.but(until_s=None).play(meddle=doing(todo))
    all_holds(run, len(case.asks))
    nothing_is_left(run)
    assert set(run.requests["state"]) <= {"finished", "cancelled"}


@given(case=cases(ONE_STAGE, until=False), todo=deeds("cancel", "move", "keep", "recompute"))
@settings(max_examples=15)
def test_leaping_and_stepping_agree_on_departures_and_updates(case: Case, todo: list[Deed]) -> None:
    meddle = doing(todo)
    assert_same_tables(case.play(meddle=meddle), case.play(leap=False, meddle=meddle))


@given(
    case=split_cases(("dense", "windows", "lockstep"), orders=("fcfs",)),
    todo=deeds("cancel", "keep", "recompute"),
)
@settings(max_examples=12)
def test_leaping_and_stepping_agree_on_departures_from_handoffs(
    case: Case, todo: list[Deed]
) -> None:
    meddle, case = doing(todo), case.but(until_s=None)
    assert_same_tables(case.play(meddle=meddle), case.play(leap=False, meddle=meddle))


@given(case=cases(until=False), todo=deeds("move", "keep", "recompute"))
@settings(max_examples=12)
def test_tokens_of_the_moved_count_as_recomputed_where_they_are_computed_twice(
    case: Case, todo: list[Deed]
) -> None:
    case = case.but(engine=case.engine | {"preemption": "recompute"}, room=1.3)
    recomputed_tokens_are_those_computed_twice(case.play(meddle=doing(todo)))


@given(
    case=st.one_of(cases(until=False), split_cases(orders=("fcfs",))),
    todo=deeds("cancel", "keep", "recompute"),
)
@settings(max_examples=12)
@example(case=SENT_BACK_ACROSS_SLOTS, todo=[])
def test_latencies_of_the_interrupted_add_up(case: Case, todo: list[Deed]) -> None:
    with TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder))
        case.but(until_s=None).play(meddle=doing(todo), folder=run)
        counts = measure(run)["requests"]  # raises when the parts of a latency do not
    assert counts["finished"] + counts["cancelled"] == counts["arrived"]


@given(case=cases(until=False), todo=deeds("move", "keep", "recompute"))
@settings(max_examples=12)
def test_latencies_of_the_moved_add_up(case: Case, todo: list[Deed]) -> None:
    with TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder))
        case.but(engines=2).play(meddle=doing(todo), folder=run)
        measure(run)


@given(
    case=speculating(cases(until=False)),
    todo=deeds("cancel", "move", "keep", "recompute"),
)
@settings(max_examples=12)
def test_engines_that_speculate_let_go_and_take_in_as_others_do(
    case: Case, todo: list[Deed]
) -> None:
    run = case.play(meddle=doing(todo))
    all_holds(run, len(case.asks))
    nothing_is_left(run)
    assert set(run.requests["state"]) <= {"finished", "cancelled"}


@given(case=speculating(cases(until=False)), todo=deeds("move", "keep", "recompute"))
@settings(max_examples=14)
def test_a_moved_request_gets_what_it_would_have_drawn(case: Case, todo: list[Deed]) -> None:
    run = case.but(draft_length="fixed").play(meddle=doing(todo))
    plan = next(p.drafting for p in run.plan.pools if p.drafting is not None)
    every_stay_gave_what_was_drawn(run, plan.draft.acceptance, plan.most)


@given(
    case=speculating(cases(ONE_STAGE, until=False)),
    todo=deeds("cancel", "move", "keep", "recompute"),
)
@settings(max_examples=12)
def test_leaping_and_stepping_agree_on_departures_of_the_speculating(
    case: Case, todo: list[Deed]
) -> None:
    meddle = doing(todo)
    assert_same_tables(case.play(meddle=meddle), case.play(leap=False, meddle=meddle))
