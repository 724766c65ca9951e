"""RocketKV against its paper's worked numbers (RK-1, RK-2, RK-7) and its code's rounding."""

from __future__ import annotations

import pytest

from sim.errors import ScenarioError
from sim.perf.rocketkv import (
    RocketKv,
    quest_storage,
    snapkv_storage,
    sparq_storage,
    stage_1_exponent,
)

AT_64 = RocketKv(prompt_tokens=64 * 256, budget_tokens=256)


def test_rk_1_sixty_four_fold_is_ten_fold_in_stage_1_and_six_fold_in_stage_2() -> None:
    assert AT_64.exponent == pytest.approx(0.56)
    assert AT_64.stage_1 == pytest.approx(10.3, abs=0.05)
    assert AT_64.stage_2 == pytest.approx(6.2, abs=0.05)
    assert AT_64.page_tokens == 3
    assert AT_64.head_part == pytest.approx(2.1, abs=0.05)
    assert AT_64.stage_1 * AT_64.page_tokens * AT_64.head_part == pytest.approx(64)


def test_rk_2_a_prompt_of_109_thousand_is_compressed_more_than_400_fold() -> None:
    assert RocketKv(109_000, 256).compression == pytest.approx(426, abs=0.5)


def test_rk_7_keeping_all_for_later_turns_changes_storage_but_not_traffic() -> None:
    turns = RocketKv(64 * 256, 256, multi_turn=True)
    assert turns.traffic == AT_64.traffic == 1 / 64
    assert turns.storage > 1 > AT_64.storage
    assert turns.storage - AT_64.storage == pytest.approx(1 - 1 / AT_64.stage_1)
    assert turns.wire == AT_64.wire == AT_64.storage


def test_the_first_stage_never_takes_more_than_four_fifths_of_the_compression() -> None:
    """0.2 + 0.06·log2 c reaches 0.8 at c = 1024."""
    assert stage_1_exponent(1.0) == 0.2
    assert stage_1_exponent(1024.0) == stage_1_exponent(4096.0) == pytest.approx(0.8)


def test_the_code_rounds_down_what_it_keeps() -> None:
    """S = 96,256 and t = 256 in NVlabs/RocketKV: 1401 tokens, pages of 3, 70 of 128 channels."""
    plan = RocketKv(96_256, 256)
    assert plan.code_kept_tokens == 1401
    assert plan.code_page_tokens == 3
    assert plan.code_channels() == 70
    assert plan.code_top_k == 128


def test_a_mild_compression_reads_every_channel_of_single_tokens() -> None:
    plan = RocketKv(300, 256)
    assert plan.code_page_tokens == 1
    assert plan.code_channels() <= 128
    assert plan.code_channels(64) <= 64


@pytest.mark.parametrize("budget", [256, 512, 1024, 4096])
def test_longer_prompts_and_smaller_budgets_save_more(budget: int) -> None:
    lengths = (16_384, 31_744, 65_536, 96_256)
    stored = [RocketKv(n, budget).storage for n in lengths]
    assert stored == sorted(stored, reverse=True)
    for n in lengths:
        assert RocketKv(n, budget // 2).traffic < RocketKv(n, budget).traffic


def test_only_snapkv_stores_less_than_rocketkv_at_equal_traffic() -> None:
    c = AT_64.compression
    assert snapkv_storage(c) < AT_64.storage < quest_storage(c) < sparq_storage()


@pytest.mark.parametrize("budget", [0, 1, 1000, 2000])
def test_a_budget_that_does_not_compress_is_refused(budget: int) -> None:
    with pytest.raises(ScenarioError, match="budget_tokens"):
        RocketKv(1000, budget)
