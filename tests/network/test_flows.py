"""Bundles that share links: ends to the second, computed by hand."""

from __future__ import annotations

import pytest
from playground import Play, rails, star

from sim.clock import DECIDE
from sim.network.fabrics.alone import Alone
from sim.network.fabrics.flows import Flows


def test_two_flows_share_a_link_until_one_ends() -> None:
    """100 B/s: 50 each until the short one (100 B) ends at 2 s; the long one has 200 left."""
    play = Play(Flows(), star(3))
    play.send([(0, 1)], 100.0)
    play.send([(0, 2)], 300.0)
    assert play.run() == {0: 2.0, 1: 4.0}


def test_a_flow_that_comes_later_slows_the_first() -> None:
    """First: 100 B alone in 1 s, 100 more at half speed, 100 more alone."""
    play = Play(Flows(), star(3))
    play.send([(0, 1)], 300.0)
    play.send([(0, 2)], 100.0, at=1.0)
    assert play.run() == {1: 3.0, 0: 4.0}


def test_flows_that_meet_nowhere_do_not_slow_each_other() -> None:
    play = Play(Flows(), star(4))
    play.send([(0, 1)], 100.0)
    play.send([(2, 3)], 100.0)
    play.send([(1, 0)], 100.0)
    assert play.run() == {0: 1.0, 1: 1.0, 2: 1.0}
    assert play.fabric.fillings == 0


def test_the_textbook_case_on_the_wire() -> None:
    """A 0→1, B 0→2, C 3→2: all at 50 until A and C end together, then B alone."""
    play = Play(Flows(), star(4))
    play.send([(0, 1)], 100.0)
    play.send([(0, 2)], 200.0)
    play.send([(3, 2)], 100.0)
    assert play.run() == {0: 2.0, 2: 2.0, 1: 3.0}


def test_a_capped_flow_leaves_its_share_to_the_others() -> None:
    play = Play(Flows(), star(3))
    play.send([(0, 1)], 40.0, cap=20.0)
    play.send([(0, 2)], 160.0)
    assert play.run() == {0: 2.0, 1: 2.0}
    assert play.fabric.fillings == 1


def test_capped_flows_that_fit_together_are_never_filled() -> None:
    play = Play(Flows(), star(3))
    play.send([(0, 1)], 100.0, cap=50.0)
    play.send([(0, 2)], 50.0, cap=50.0)
    assert play.run() == {1: 1.0, 0: 2.0}
    assert play.fabric.fillings == 0


def test_a_burst_at_one_instant_is_filled_once() -> None:
    play = Play(Flows(), star(9))
    for i in range(8):
        play.send([(0, 1 + i)], 100.0)
    assert set(play.run().values()) == {8.0}
    assert play.fabric.fillings == 1


def test_ends_at_one_instant_are_filled_once() -> None:
    play = Play(Flows(), star(5))
    for i in range(3):
        play.send([(0, 1 + i)], 100.0)
    play.send([(0, 4)], 200.0)
    play.send([(0, 4)], 200.0)
    play.run()
    assert play.fabric.fillings == 2


def test_only_the_component_that_changed_is_filled() -> None:
    play = Play(Flows(), star(8))
    play.send([(0, 1)], 1000.0)
    play.send([(0, 2)], 1000.0)
    play.send([(4, 5)], 100.0, at=1.0)
    play.send([(4, 6)], 100.0, at=1.0)
    play.run()
    assert play.fabric.fillings == 2


def test_latency_comes_after_the_last_byte_and_does_not_hold_the_link() -> None:
    """2 s of wire, then 2 links of 5 s; the second finds the link free at 2 s."""
    play = Play(Flows(), star(3, latency_s=5.0))
    play.send([(0, 1)], 200.0)
    play.send([(0, 2)], 200.0, at=2.0)
    assert play.run() == {0: 12.0, 1: 14.0}


def test_completions_of_one_instant_are_in_order_of_start() -> None:
    play = Play(Flows(), star(8))
    for i in (3, 1, 2, 0):
        play.send([(i, 4 + i)], 100.0)
    assert list(play.run()) == [0, 1, 2, 3]


def test_four_rails_are_four_times_one_rail() -> None:
    one, four = Play(Flows(), rails(2)), Play(Flows(), rails(2))
    one.send([(0, 4)], 400.0)
    four.send([(i, 4 + i) for i in range(4)], 400.0)
    latency = 2 * (2 + 2 + 3)
    assert one.run() == {0: 8.0 + latency}
    assert four.run() == {0: 2.0 + latency}


def test_sends_from_the_decide_beat_share_from_the_same_instant() -> None:
    play = Play(Flows(), star(3))
    play.send([(0, 1)], 100.0, order=DECIDE)
    play.send([(0, 2)], 100.0, order=DECIDE)
    assert play.run() == {0: 2.0, 1: 2.0}


def test_a_transfer_started_by_the_end_of_another_uses_the_freed_link() -> None:
    play = Play(Flows(), star(3))
    bundle = play.topology.bundle([(0, 1)])
    ends: list[float] = []

    def again() -> None:
        ends.append(play.clock.now)
        if len(ends) < 3:
            play.fabric.send(bundle, 100.0, again)

    play.fabric.send(bundle, 100.0, again)
    play.run()
    assert ends == [1.0, 2.0, 3.0]
    assert play.fabric.fillings == 0


def test_zero_bytes_arrive_after_the_latency_even_on_a_busy_link() -> None:
    play = Play(Flows(), star(3, latency_s=0.5))
    play.send([(0, 1)], 1000.0)
    play.send([(0, 2)], 0.0, at=1.0)
    assert play.run()[1] == 2.0


def test_oversubscription_halves_what_crosses_the_spine_when_all_send() -> None:
    pairs = [(i, 4 + (i + 1) % 4) for i in range(4)] + [(4 + i, (i + 1) % 4) for i in range(4)]
    seconds = {}
    for factor in (1.0, 2.0):
        play = Play(Flows(), rails(2, oversubscription=factor))
        for pair in pairs:
            play.send([pair], 500.0)
        seconds[factor] = max(play.run().values()) - 2 * (2 + 2 + 3 + 4)
    assert seconds == {1.0: 10.0, 2.0: 20.0}


def test_alone_ignores_what_flows_share() -> None:
    ends = {}
    for policy in (Alone(), Flows()):
        play = Play(policy, star(3))
        play.send([(0, 1)], 100.0)
        play.send([(0, 2)], 100.0)
        ends[type(policy)] = play.run()
    assert ends == {Alone: {0: 1.0, 1: 1.0}, Flows: {0: 2.0, 1: 2.0}}


def test_the_heap_of_ends_stays_small_under_many_changes_of_rate() -> None:
    play = Play(Flows(), star(64))
    for i in range(600):
        play.send([(0, 1 + i % 63)], 1e6, at=i * 0.5)
    play.clock.run(until=301.0)
    assert len(play.fabric.active) == 600
    assert len(play.fabric._heap) < 4 * 600


def test_bytes_so_far_can_be_read_without_changing_the_outcome() -> None:
    watched, unwatched = Play(Flows(), star(3)), Play(Flows(), star(3))
    for play in (watched, unwatched):
        play.send([(0, 1)], 100.0)
        play.send([(0, 2)], 310.0, at=0.3)
    watched.clock.at(0.7, 0).callbacks.append(lambda _: seen.update(watched.fabric.link_bytes()))
    seen: dict[int, float] = {}
    assert watched.run() == unwatched.run()
    assert seen == pytest.approx({0: 70.0, 3: 50.0, 5: 20.0})
