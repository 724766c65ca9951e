"""The expert layer: its limits in bandwidth and arithmetic, and what padding and spread cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.formats import load_format
from sim.catalog.gpu import load_gpu
from sim.perf.surfaces.experts import Array, Experts

H100, BF16 = load_gpu("h100"), load_format("bf16")
HIDDEN, WIDTH, MATRICES = 4096, 14336, 3
BARE = Experts(floor_s=0.0, local_expert_s=0.0, touched_expert_s=0.0, hidden_passes=0.0,
               width_passes=0.0, token_passes=0.0, overlap=0.0)  # fmt: skip


def seconds(
    surface: Experts, choices: float, touched: float, largest: float | None = None, **more: object
) -> float:
    largest = choices / touched if largest is None else largest
    args: list[Array] = [np.array([v], dtype=np.float64) for v in (choices, touched, largest)]
    settings = {"hidden": HIDDEN, "width": WIDTH, "local_experts": 8.0, "gated": True, **more}
    return float(surface.seconds(H100, BF16, *args, **settings)[0])  # type: ignore[arg-type]


def test_one_row_for_every_expert_reads_the_weights_at_the_achieved_bandwidth() -> None:
    weights = 8 * MATRICES * HIDDEN * WIDTH * 2
    expected = weights / (H100.hbm_bytes_per_s * BARE.bandwidth)
    assert seconds(BARE, 8, 8) == pytest.approx(expected, rel=1e-6)


def test_experts_without_tokens_cost_no_reading() -> None:
    assert seconds(BARE, 2, 2) == pytest.approx(seconds(BARE, 8, 8) / 4, rel=0.01)


def test_very_many_rows_reach_the_achieved_fraction_of_the_peak() -> None:
    choices = 8 * 65536.0
    flops = 2 * choices * MATRICES * HIDDEN * WIDTH
    expected = flops / (H100.flops_per_s["bf16"] * BARE.flops)
    assert seconds(BARE, choices, 8) == pytest.approx(expected, rel=0.02)


def test_an_ungated_expert_has_two_thirds_of_the_weights() -> None:
    assert seconds(BARE, 8, 8, gated=False) == pytest.approx(seconds(BARE, 8, 8) * 2 / 3, rel=1e-6)


def test_the_same_rows_over_more_experts_cost_more() -> None:
    """Padding to tiles: 1,024 rows in 4 tiles of 128 an expert, or in one padded tile each."""
    compute = replace(BARE, bandwidth=1e3)
    assert seconds(compute, 1024, 200) > 1.2 * seconds(compute, 1024, 2)


def test_a_choice_of_small_tiles_helps_when_experts_have_few_rows() -> None:
    compute = replace(BARE, bandwidth=1e3)
    tall = replace(compute, tiles=(128.0,))
    assert seconds(compute, 64, 8) < 0.5 * seconds(tall, 64, 8)
    assert seconds(compute, 8 * 8192, 8) == pytest.approx(seconds(tall, 8 * 8192, 8), rel=1e-6)


def test_weights_that_do_not_fit_in_l2_are_read_again() -> None:
    again = replace(BARE, group_rows=64.0, flops=1e3)
    assert seconds(again, 8 * 1024, 8) > 5 * seconds(replace(BARE, flops=1e3), 8 * 1024, 8)
    small = {"width": 64.0}
    assert seconds(again, 8 * 1024, 8, **small) == pytest.approx(
        seconds(replace(BARE, flops=1e3), 8 * 1024, 8, **small)
    )


def test_tokens_of_experts_elsewhere_cost_only_where_all_tokens_are_gathered() -> None:
    surface = replace(BARE, pair_hidden_passes=2.0)
    given_ = {"tokens": np.array([1000.0]), "top_k": 8.0}
    more = seconds(surface, 8, 8, **given_) - seconds(BARE, 8, 8, **given_)
    assert more == pytest.approx(1000 * 8 * 2 * HIDDEN * 2 / H100.hbm_bytes_per_s)


def test_a_layer_without_tokens_takes_no_time() -> None:
    assert seconds(Experts(), 0, 0, 0) == 0.0


def test_a_rank_without_choices_still_runs_its_kernels() -> None:
    idle = seconds(Experts(), 0, 0, 0, tokens=np.array([64.0]), top_k=8.0)
    assert idle >= Experts().floor_s


def test_weights_only_stored_in_a_format_are_multiplied_in_bf16() -> None:
    mxfp4 = load_format("mxfp4")
    args = [np.array([8 * 65536.0]), np.array([8.0]), np.array([65536.0])]
    stored = BARE.seconds(H100, mxfp4, *args, HIDDEN, WIDTH, 8.0, gated=True)
    plain = BARE.seconds(H100, BF16, *args, HIDDEN, WIDTH, 8.0, gated=True)
    assert stored == pytest.approx(plain)


@given(choices=st.integers(8, 10**6), more=st.floats(1.01, 4.0))
def test_twice_the_rows_never_take_less_time(choices: int, more: float) -> None:
    assert seconds(Experts(), choices * more, 8) >= seconds(Experts(), choices, 8) * (1 - 1e-9)


def test_the_correction_multiplies_and_is_flat_outside_its_rows() -> None:
    bent = replace(Experts(), rows=(4.0, 16.0), correction=(2.0, 1.0))
    assert seconds(bent, 8, 8) == pytest.approx(2 * seconds(Experts(), 8, 8))
    assert seconds(bent, 80, 8) == pytest.approx(1.5 * seconds(Experts(), 80, 8))
    assert seconds(bent, 8 * 999, 8) == pytest.approx(seconds(Experts(), 8 * 999, 8))
