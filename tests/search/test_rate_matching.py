"""Prefill and decode engines in numbers that keep each other busy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.search.estimate import estimate
from sim.search.point import Point, Split
from sim.search.rate_matching import TOLERANCE, Side, match, matched, tokens_per_s_per_gpu


def test_without_whole_numbers_it_is_the_closed_form_of_tensorrt_llm() -> None:
    """Blog 5: tok/s/GPU = total_output_tok/s / (N_ctxGPU · genReqRate/ctxReqRate + N_genGPU)."""
    prefill, decode = Side(requests_per_s=4.0, gpus=4), Side(requests_per_s=6.0, gpus=8)
    total = 6.0 * 1024
    expected = total / (4 * 6.0 / 4.0 + 8)
    assert tokens_per_s_per_gpu(prefill, decode, 1024) == pytest.approx(expected)
    made = matched(prefill, decode)
    assert (made.prefill_engines, made.decode_engines) == (3, 2)
    assert made.requests_per_s * 1024 / made.gpus == pytest.approx(expected)


rates = st.floats(0.2, 20.0)
sizes = st.sampled_from([1, 2, 4, 8])


@given(rates, sizes, rates, sizes)
def test_a_matched_pair_is_near_the_closed_form_and_never_above_it(
    r_p: float, g_p: int, r_d: float, g_d: int
) -> None:
    prefill, decode = Side(r_p, g_p), Side(r_d, g_d)
    made = matched(prefill, decode)
    best = tokens_per_s_per_gpu(prefill, decode, 1)
    got = made.requests_per_s / made.gpus
    assert got <= best * (1 + 1e-9)
    if abs(made.imbalance) <= TOLERANCE:
        assert got >= best * (1 - TOLERANCE)


@given(rates, sizes, rates, sizes)
def test_no_smaller_deployment_is_matched(r_p: float, g_p: int, r_d: float, g_d: int) -> None:
    prefill, decode = Side(r_p, g_p), Side(r_d, g_d)
    made = matched(prefill, decode, most_gpus=64)
    if abs(made.imbalance) > TOLERANCE:
        return
    for n_p in range(1, 64 // g_p + 1):
        for n_d in range(1, 64 // g_d + 1):
            other = match(prefill, decode, n_p, n_d)
            if abs(other.imbalance) <= TOLERANCE:
                assert other.gpus >= made.gpus


def test_the_slower_side_limits() -> None:
    prefill, decode = Side(2.0, 1), Side(3.0, 1)
    assert match(prefill, decode, 1, 1).limits == "prefill"
    assert match(prefill, decode, 2, 1).limits == "decode"
    assert match(prefill, decode, 3, 2).limits == "both"
    assert match(prefill, decode, 2, 1).requests_per_s == 3.0


def test_engines_that_are_given_are_kept() -> None:
    prefill, decode = Side(2.0, 1), Side(3.0, 1)
    assert matched(prefill, decode, decode_engines=4).prefill_engines == 6
    assert matched(prefill, decode, prefill_engines=3).decode_engines == 2
    both = matched(prefill, decode, 5, 1)
    assert (both.prefill_engines, both.decode_engines) == (5, 1)


def test_decode_engines_that_hold_less_than_asked_say_so() -> None:
    point = Point(
        "llama-3.1-8b", "h100", 1000, 100, 64, timer="roofline", split=Split("single"),
        changes=("pools.decode.engine.max_num_seqs=16",),
    )  # fmt: skip
    found = estimate(point)
    assert "limited by engine.max_num_seqs" in found.limits[0]
    assert found.pools[1].running <= 16
    given = estimate(replace(point, split=Split("single", 4, 1)))
    assert "prefilled ones wait" in given.limits[0]
    assert given.concurrency == 64
    assert given.requests_per_s * given.e2e_s == pytest.approx(64, rel=0.02)
