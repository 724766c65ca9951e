"""Exact top-k: what is published of radix select and guess-verify-refine on a B200."""

from __future__ import annotations

import numpy as np
import pytest

from sim.catalog.gpu import load_gpu
from sim.perf.surfaces.top_k import TopK

B200 = load_gpu("b200")
TOP_K = TopK()
LONG = 70_000
HIGH, LOW, RANDOM = 0.425, 0.02, 0.0
"""Overlap of successive top-k: layers 20 to 60, layers 0 and 1, no guess from the step before."""


@pytest.mark.parametrize(
    ("overlap", "measured_s"), [(HIGH, 22.7e-6), (LOW, 27.2e-6), (RANDOM, 30.9e-6)]
)
def test_a_long_row_takes_the_measured_time_at_each_quality_of_guess(overlap, measured_s) -> None:
    """TensorRT-LLM technical blog 21, ablation; inputs of the model."""
    assert TOP_K.gvr_seconds(B200, 1, LONG, overlap) == pytest.approx(measured_s, rel=0.02)


def test_radix_select_takes_the_measured_time_on_one_long_row() -> None:
    """Blog 21: 43.7 µs; an input."""
    assert TOP_K.radix_seconds(B200, 1, LONG) == pytest.approx(43.7e-6, rel=0.02)


def test_speed_up_over_radix_averages_that_of_the_layers_of_the_model() -> None:
    """Blog 21: mean 1.88, by layer 1.57 to 2.02, best step 2.42. Layers 2 to 19 are taken to lie
    half-way between the two published groups."""
    overlap = np.r_[np.full(2, LOW), np.full(18, (0.02 + 0.35) / 2), np.full(41, HIGH)]
    speed_up = TOP_K.radix_seconds(B200, 1, LONG) / TOP_K.gvr_seconds(B200, 1, LONG, overlap)
    assert speed_up.mean() == pytest.approx(1.88, rel=0.05)
    assert speed_up.min() == pytest.approx(1.57, rel=0.05)
    assert speed_up.max() == pytest.approx(2.02, rel=0.05)
    best = TOP_K.radix_seconds(B200, 1, LONG) / TOP_K.gvr_seconds(B200, 1, LONG, 1.0)
    assert best == pytest.approx(2.42, rel=0.10)


def test_phases_share_the_time_as_the_authors_measured() -> None:
    """Supplementary repository: verify 52 % at low overlap, 34 % at high; collect 24 to 33 %;
    guess 10 %; refine 14 to 22 %; all within five points."""
    for overlap, verify in ((LOW, 0.52), (HIGH, 0.34)):
        phases = TOP_K.gvr_phases(LONG, overlap)
        total = sum(phases.values())
        share = {name: float(s / total) for name, s in phases.items()}
        assert share["verify"] == pytest.approx(verify, abs=0.05)
        assert 0.24 - 0.05 <= share["collect"] <= 0.33 + 0.05
        assert share["guess"] == pytest.approx(0.10, abs=0.05)
        assert 0.14 - 0.05 <= share["refine"] <= 0.22 + 0.05


def test_random_data_breaks_even_with_radix_near_16_thousand_scores() -> None:
    n = np.arange(2048, 65536, 16)
    quicker = TOP_K.gvr_seconds(B200, 1, n, RANDOM) < TOP_K.radix_seconds(B200, 1, n)
    assert n[quicker][0] == pytest.approx(16_384, rel=0.2)
    assert quicker[n > n[quicker][0]].all()


def test_the_dispatcher_guesses_only_where_a_good_guess_pays() -> None:
    floor = TOP_K.floor_scores
    radix = TOP_K.radix_seconds(B200, 1, floor)
    assert TOP_K.gvr_seconds(B200, 1, floor, HIGH) < radix
    assert TOP_K.seconds(B200, 1, floor - 1, HIGH) == TOP_K.radix_seconds(B200, 1, floor - 1)
    assert TOP_K.seconds(B200, 1, floor, HIGH) < radix
    assert TOP_K.seconds(load_gpu("h100"), 1, LONG, HIGH) == TOP_K.radix_seconds(B200, 1, LONG)
    crowd = 2 * B200.sm_count
    assert TOP_K.seconds(B200, crowd, LONG, HIGH) == TOP_K.radix_seconds(B200, crowd, LONG)


def test_radix_beats_the_library_on_a_batch_of_short_rows() -> None:
    """TensorRT-LLM technical blog 15, [64, 9295]: 106 µs against 14.3 µs, 7.4 times; inputs."""
    radix = TOP_K.radix_seconds(B200, 64, 9295)
    library = TOP_K.library_seconds(B200, 64, 9295)
    assert radix == pytest.approx(14.3e-6, rel=0.05)
    assert library / radix == pytest.approx(7.4, rel=0.10)


def test_many_rows_run_in_waves_and_never_faster_than_memory() -> None:
    one, full = TOP_K.radix_seconds(B200, np.array([1, B200.sm_count]), 9295)
    assert one == full
    more = TOP_K.radix_seconds(B200, B200.sm_count + 1, 9295)
    assert more - TOP_K.start_s == pytest.approx(2 * (one - TOP_K.start_s))
    rows, n = 64 * B200.sm_count, LONG
    read = TOP_K.radix_passes * rows * n * 4.0 / B200.hbm_bytes_per_s
    assert TOP_K.radix_seconds(B200, rows, n) > read
