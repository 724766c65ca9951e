"""Gaps between tokens, against every token written out."""

from pathlib import Path

import numpy as np
import pytest
from miniature import aggregated, disaggregated
from toy import Toy

from sim.errors import BrokenInvariant
from sim.measure.gaps import Tokens
from sim.measure.latency import Requests
from sim.measure.ledger import Ledger
from sim.measure.stays import Stays
from sim.record.run_folder import RunFolder

FIRST_TOKENS = ("prefill", "decode", "made_by_decode")


def tokens_of(run: RunFolder) -> Tokens:
    stays = Stays.read(run, Ledger.read(run))
    return Tokens.read(run, stays, Requests.read(run))


def test_gaps_of_an_aggregated_run_are_those_counted_by_hand(tmp_path: Path) -> None:
    gaps = tokens_of(aggregated().write(tmp_path)).gaps()
    # request 0: tokens at 1, 2, 2.5, 3; request 1: tokens at 2, 2.5, 3
    assert np.repeat(gaps.values, gaps.weights).tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]


def test_the_gap_across_a_handoff_is_one_gap(tmp_path: Path) -> None:
    gaps = tokens_of(disaggregated().write(tmp_path)).gaps()
    assert np.repeat(gaps.values, gaps.weights).tolist() == [0.5, 1.75]


def test_a_first_token_held_back_until_decode_arrives_with_the_second(tmp_path: Path) -> None:
    gaps = tokens_of(disaggregated("decode").write(tmp_path)).gaps()
    assert np.repeat(gaps.values, gaps.weights).tolist() == [0.0, 0.5]


@pytest.mark.parametrize("pools", ("aggregated", "disaggregated"))
@pytest.mark.parametrize("first_token", FIRST_TOKENS)
def test_pooled_gaps_are_those_of_all_tokens_written_out(
    tmp_path: Path, pools: str, first_token: str
) -> None:
    for seed in range(25):
        toy = Toy(seed, pools=pools, ranks=1 + seed % 2, first_token=first_token)
        run = toy.play(tmp_path)
        gaps = tokens_of(run).gaps()
        written_out = np.sort(np.concatenate([np.diff(s.tokens) for s in toy.seqs]))
        assert gaps.count == len(written_out)
        np.testing.assert_allclose(
            np.repeat(gaps.values, gaps.weights), written_out, atol=1e-12, rtol=0
        )


def test_gaps_sum_to_the_time_between_first_and_last_token(tmp_path: Path) -> None:
    toy = Toy(7, pools="disaggregated", ranks=2, first_token="prefill")
    run = toy.play(tmp_path)
    requests = Requests.read(run)
    whole = float((requests["end_s"] - requests["first_token_s"]).sum())
    assert tokens_of(run).gaps().total == pytest.approx(whole, abs=1e-9)


def test_a_span_of_time_counts_the_tokens_made_in_it(tmp_path: Path) -> None:
    tokens = tokens_of(aggregated().write(tmp_path))
    assert tokens.made() == 7
    assert tokens.made(1.0, 2.0) == 2  # the second of request 0 and the first of request 1
    assert tokens.gaps(1.0, 2.0).values.tolist() == [1.0]


def test_a_hole_in_a_clock_is_a_broken_invariant(tmp_path: Path) -> None:
    tables = aggregated()
    del tables.rows["clock"][1]
    with pytest.raises(BrokenInvariant, match="clock of engine 0"):
        tokens_of(tables.write(tmp_path))
