"""What is done to an engine from outside, step by step: every step takes a second here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers import Ask, Run, play_asks, steady

from sim.clock import ARRIVAL
from sim.engine.engine import Engine
from sim.errors import BrokenInvariant
from sim.scenario.build import Built

Deed = Callable[[Built], None]
LATER = ARRIVAL + 1000


def engines(built: Built) -> list[Engine]:
    return [e for p in built.pools for e in p.engines]


def sequence(built: Built, number: int) -> Any:
    return built.cluster._inside[number][1]


def at(*deeds: tuple[float, Deed]) -> Callable[[Built], None]:
    """Do each deed at its time, after the arrivals of that instant."""

    def meddle(built: Built) -> None:
        for i, (time_s, deed) in enumerate(deeds):
            event = built.clock.at(time_s, LATER + i)
            event.callbacks.append(lambda _, deed=deed: deed(built))

    return meddle


def cancel(number: int) -> Deed:
    return lambda built: built.cluster.cancel(number)


def move(number: int, engine: int, *, send_kv: bool = False) -> Deed:
    def deed(built: Built) -> None:
        built.cluster.move(number, engines(built)[engine], send_kv=send_kv)

    return deed


def update(version: int, *, keep_kv: bool) -> Deed:
    """Pause engine 0, give it new weights when it is quiet, and go on."""

    def deed(built: Built) -> None:
        levers = engines(built)[0].levers

        def quiet() -> None:
            levers.flush(keep_kv=keep_kv)
            levers.set_version(version)
            levers.resume()

        levers.pause()
        levers.quiet(quiet)

    return deed


def serve(
    *asks: Ask, deeds: tuple[tuple[float, Deed], ...] = (), count: int = 1, **engine: Any
) -> Run:
    pool = {"timer": steady(1.0), "engine": engine, "engines": count}
    machine = {"name": "single_gpu", "nodes": count}
    return play_asks(asks, pools={"serve": pool}, topology=machine, meddle=at(*deeds))


def row(run: Run, number: int) -> Any:
    return run.requests.iloc[number]


def stays(run: Run, number: int) -> list[tuple[str, str, int]]:
    mine = run.table("intervals").query(f"request == {number}")
    return [(s.stage, s.closed, s.tokens) for s in mine.itertuples()]


def test_a_request_given_up_in_mid_pass_leaves_when_the_pass_commits() -> None:
    """Prompt in the first second, then a token a second. Given up at 3.5 s, out at 4 s."""
    run = serve(Ask(0.0, 8, 50), Ask(0.0, 8, 6), deeds=((3.5, cancel(0)),))
    assert row(run, 0)[["state", "reason", "generated_tokens", "end_s"]].tolist() == [
        "cancelled", "client", 4, 4.0,
    ]  # fmt: skip
    assert stays(run, 0) == [("prefill", "decoding", 8), ("decode", "withdrawn", 3)]
    assert row(run, 1)["end_s"] == 6.0


def test_a_request_given_up_in_the_pass_of_its_last_token_has_finished() -> None:
    run = serve(Ask(0.0, 8, 4), deeds=((3.5, cancel(0)),))
    assert row(run, 0)[["state", "end_s"]].tolist() == ["finished", 4.0]


def test_a_request_given_up_while_it_waits_ends_at_once() -> None:
    run = serve(Ask(0.0, 8, 5), Ask(0.0, 8, 5), deeds=((2.5, cancel(1)),), max_num_seqs=1)
    assert row(run, 1)[["state", "generated_tokens", "end_s"]].tolist() == ["cancelled", 0, 2.5]
    assert stays(run, 1) == [("prefill", "withdrawn", 0)]


def test_a_request_given_up_in_the_middle_of_its_prompt_computes_no_further_chunk() -> None:
    run = serve(Ask(0.0, 40, 5), deeds=((1.5, cancel(0)),), max_num_batched_tokens=8,
                max_num_seqs=1)  # fmt: skip
    assert row(run, 0)[["state", "end_s"]].tolist() == ["cancelled", 2.0]
    assert run.table("chunks")["tokens"].tolist() == [8, 8]


def test_a_request_given_up_before_the_tokeniser_has_read_it_reaches_no_engine() -> None:
    run = play_asks(
        [Ask(0.0, 10, 5)],
        pools={"serve": {"timer": steady(1.0)}},
        frontend={"request_s": 2.0},
        meddle=at((1.0, cancel(0))),
    )
    assert row(run, 0)[["state", "end_s"]].tolist() == ["cancelled", 1.0]
    assert len(run.table("intervals")) == 0


def test_giving_up_one_that_has_ended_is_a_broken_invariant() -> None:
    with pytest.raises(BrokenInvariant, match="given up"):
        serve(Ask(0.0, 8, 2), deeds=((5.0, cancel(0)),))


SPLIT = {"prefill": {"timer": steady(1.0)}, "decode": {"timer": steady(1.0)}}


@pytest.mark.parametrize("pair_at", ["arrival", "prefill_end"])
@pytest.mark.parametrize(
    ("at_s", "generated"), [(0.5, 1), (1.0 + 1e-7, 1), (2.5, 2)], ids=["prefill", "way", "decode"]
)
def test_giving_up_at_any_stage_of_a_handoff_frees_both_ends(
    at_s: float, generated: int, pair_at: str
) -> None:
    run = play_asks(
        [Ask(0.0, 64, 9), Ask(0.0, 8, 3)],
        topology={"name": "single_gpu", "nodes": 2},
        pools=SPLIT,
        deployment={"disaggregated": {"pair_at": pair_at}},
        meddle=at((at_s, cancel(0))),
    )
    assert row(run, 0)[["state", "generated_tokens"]].tolist() == ["cancelled", generated]
    assert row(run, 1)["state"] == "finished"
    assert [int(x) for e in run.engines for x in e.gauges.load] == [0, 0]


def test_a_moved_sequence_keeps_its_tokens_and_computes_prompt_and_tokens_again() -> None:
    """Three tokens of it exist at 3 s. Elsewhere 11 tokens are computed in a second, which gives
    the fourth; the other two follow."""
    run = serve(Ask(0.0, 8, 6), deeds=((2.5, move(0, 1)),), count=2)
    assert stays(run, 0) == [
        ("prefill", "decoding", 8), ("decode", "withdrawn", 2),
        ("recompute", "decoding", 11), ("decode", "finished", 2),
    ]  # fmt: skip
    one = row(run, 0)
    assert one[["state", "end_s", "prefill_engine", "decode_engine"]].tolist() == [
        "finished", 6.0, 0, 1,
    ]  # fmt: skip
    assert one["recomputed_tokens"] == 10  # the KV of the third token was never there
    assert one["preemptions"] == 0


def test_a_sequence_that_is_moved_with_its_kv_computes_nothing_again() -> None:
    """Three tokens of it exist at 3 s, and the KV of ten. It decodes on as soon as that is here."""
    run = serve(Ask(0.0, 8, 6), deeds=((2.5, move(0, 1, send_kv=True)),), count=2)
    assert stays(run, 0) == [
        ("prefill", "decoding", 8), ("decode", "handed_off", 2), ("decode", "finished", 3),
    ]  # fmt: skip
    one, sent = row(run, 0), run.table("transfers")
    assert one["recomputed_tokens"] == 0
    assert sent["bytes"].tolist() == [10 * run.plan.pools[0].memory.kv_bytes_per_token]
    assert one["end_s"] == pytest.approx(6.0 + (sent["end_s"] - sent["start_s"])[0])
    assert [int(x) for e in run.engines for x in e.gauges.load] == [0, 0]


def test_one_that_is_moved_before_it_decodes_has_no_kv_to_take_along() -> None:
    run = serve(Ask(0.0, 8, 6), deeds=((0.0, move(0, 1, send_kv=True)),), count=2)
    assert stays(run, 0)[0] == ("prefill", "withdrawn", 0)
    assert row(run, 0)[["state", "end_s", "prefill_engine"]].tolist() == ["finished", 6.0, 1]
    assert len(run.table("transfers")) == 0


def test_an_engine_is_quiet_when_the_pass_in_progress_has_ended() -> None:
    told: list[float] = []

    def pause(built: Built) -> None:
        levers = engines(built)[0].levers
        levers.pause()
        levers.quiet(lambda: told.append(float(built.clock.now)))

    def again(built: Built) -> None:
        engines(built)[0].levers.quiet(lambda: told.append(float(built.clock.now)))
        engines(built)[0].levers.resume()

    serve(Ask(0.0, 1, 9), deeds=((2.5, pause), (7.0, again)))
    assert told == [3.0, 7.0]


def test_an_engine_in_the_middle_of_a_pass_refuses_new_weights() -> None:
    with pytest.raises(BrokenInvariant, match="quiet"):
        serve(
            Ask(0.0, 1, 9),
            deeds=((2.5, lambda built: engines(built)[0].levers.flush(keep_kv=True)),),
        )


def test_with_their_kv_kept_sequences_go_on_where_they_were() -> None:
    run = serve(Ask(0.0, 8, 6), deeds=((2.5, update(1, keep_kv=True)),))
    assert stays(run, 0) == [("prefill", "decoding", 8), ("decode", "finished", 5)]
    assert row(run, 0)["end_s"] == 6.0


def test_without_their_kv_sequences_are_computed_again_in_the_order_of_before() -> None:
    """Room for one prompt a pass: who was first is first again, before whoever waited."""
    asks = [Ask(0.0, 8, 9), Ask(0.0, 8, 9), Ask(0.0, 8, 9)]
    run = serve(
        *asks,
        deeds=((4.5, update(1, keep_kv=False)),),
        max_num_seqs=2,
        max_num_batched_tokens=14,
        batcher="prefill_first",
    )
    again = run.table("chunks").query("step > 1")
    assert again["request"].drop_duplicates().tolist() == [0, 1, 2]
    assert (run.requests["state"] == "finished").all()
    assert row(run, 0)["recomputed_tokens"] > 8


def test_prefix_blocks_made_with_old_weights_are_found_by_nobody() -> None:
    ids = (1, 2)
    asks = [Ask(t, 32, answer, ids) for t, answer in ((0.0, 8), (4.0, 1), (20.0, 1), (30.0, 1))]
    plain = serve(*asks).requests["cached_tokens"].tolist()
    assert plain == [0, 16, 16, 16]
    for keep_kv in (True, False):
        run = serve(*asks, deeds=((2.5, update(1, keep_kv=keep_kv)),))
        if keep_kv:  # the first one still runs on its old blocks; the next one makes new ones
            assert run.requests["cached_tokens"].tolist() == [0, 0, 16, 16]
        else:  # the first one has computed them again by then
            assert run.requests["cached_tokens"].tolist() == [0, 16, 16, 16]


def versions(
    *asks: Ask, deeds: tuple[tuple[float, Deed], ...], count: int = 1
) -> list[tuple[tuple[int, int], ...]]:
    """Tokens by version of every request, in order of their numbers."""
    seen: dict[int, tuple[tuple[int, int], ...]] = {}

    def watch(built: Built) -> None:
        finished = built.cluster.finished

        def listen(one: Any, engine: int) -> None:
            seen[one.number] = one.by_version()
            finished(one, engine)

        for engine in engines(built):
            engine.port.services.ears.finished = listen

    serve(*asks, deeds=((0.0, watch), *deeds), count=count)
    return [seen[n] for n in sorted(seen)]


def test_tokens_know_the_version_of_the_weights_that_made_them() -> None:
    """A token a second from 1 s on; new weights after the third and after the seventh."""
    deeds = ((2.5, update(1, keep_kv=True)), (6.5, update(2, keep_kv=True)))
    assert versions(Ask(0.0, 8, 9), Ask(0.0, 1, 2), Ask(8.0, 8, 2), deeds=deeds) == [
        ((0, 3), (1, 4), (2, 2)), ((0, 2),), ((2, 2),),
    ]  # fmt: skip


def test_without_updates_all_tokens_are_of_the_first_version() -> None:
    assert versions(Ask(0.0, 8, 5), deeds=()) == [((0, 5),)]


def test_a_moved_sequence_takes_the_versions_of_its_tokens_along() -> None:
    """Three tokens by version 0 in engine 0, which then learns version 4 while it is elsewhere."""
    deeds = ((2.5, move(0, 1)), (3.5, update(4, keep_kv=True)))
    assert versions(Ask(0.0, 8, 6), deeds=deeds, count=2) == [((0, 6),)]
    deeds = ((0.5, update(4, keep_kv=True)), (2.5, move(0, 1)))
    assert versions(Ask(0.0, 8, 6), deeds=deeds, count=2) == [((0, 1), (4, 2), (0, 3))]


def test_the_versions_of_an_engine_are_in_its_table() -> None:
    run = serve(Ask(0.0, 8, 6), deeds=((2.5, update(7, keep_kv=True)),))
    lines = run.table("engines")
    assert lines["version"].tolist() == [0, 0, 7, 7]
    assert lines["time_s"].tolist() == [0.0, 2.5, 3.0, 3.0]


@pytest.mark.parametrize(("answer", "cached"), [(17, 48), (16, 32), (1, 32)])
def test_the_next_turn_finds_the_full_blocks_of_the_answer(answer: int, cached: int) -> None:
    """The KV of the last token is never made, so 32 + 17 tokens leave three blocks of 16."""
    ids = (1, 2, 3, 4, 5)
    named = ids[: -(-(32 + answer) // 16)]
    run = serve(Ask(0.0, 32, answer, named), Ask(100.0, 70, 1, ids), block_size=16)
    assert row(run, 1)["cached_tokens"] == cached


def test_a_block_in_which_the_answer_begins_is_found_when_it_is_full() -> None:
    """20 tokens of prompt and 13 of the answer fill two blocks; before its end the second turn
    finds only the first."""
    ids = (1, 2, 3)
    asks = [Ask(0.0, 20, 13, ids), Ask(5.0, 40, 1, (1, 2, 4)), Ask(100.0, 40, 1, (1, 2, 5))]
    run = serve(*asks, block_size=4)
    assert run.requests["cached_tokens"].tolist() == [0, 16, 32]
