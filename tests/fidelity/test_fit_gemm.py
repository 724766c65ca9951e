"""Fitting matrix products: figures come back from a table made of them, and measured ones fit."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.catalog.formats import FORMATS
from sim.catalog.gpu import load_gpu
from sim.fidelity.fits.gemm import Gemm
from sim.perf.calibration import Calibration
from sim.perf.surfaces.gemm import Gemm as Surface

OPS = Path(__file__).parents[3] / "shared" / "data" / "ops"
H100 = load_gpu("h100")
TOKENS = (1, 8, 16, 64, 96, 128, 256, 512, 1024, 4096, 16384)
WIDTHS = (256, 1024, 2048, 4096, 8192, 16384)
UNSEEN = ((48, 2560, 7168), (300, 10240, 1536), (3000, 7168, 5120), (8192, 2560, 10240))


def table_of(surface: Surface, dtype: str = "bfloat16", fmt: str = "bf16") -> pd.DataFrame:
    m, n, k = np.array(list(product(TOKENS, WIDTHS, WIDTHS)), float).T
    ms = surface.seconds(H100, FORMATS[fmt], m, n, k) * 1e3
    return pd.DataFrame({"gemm_dtype": dtype, "m": m, "n": n, "k": k, "latency": ms})


def test_a_table_made_of_known_figures_gives_them_back_on_unseen_shapes() -> None:
    true = Surface(compute=0.7, hbm=0.6, floor_s=4e-6, stream=0.6, store=1.0)
    found = Gemm().fit(table_of(true), H100, holdout=False)["gemm"]["bf16"]
    assert found.residual is None
    assert found.reach == {"m": (1.0, 16384.0), "n": (256.0, 16384.0), "k": (256.0, 16384.0)}
    m, n, k = np.array(UNSEEN, float).T
    predicted = found.surface.seconds(H100, FORMATS["bf16"], m, n, k)
    truth = true.seconds(H100, FORMATS["bf16"], m, n, k)
    assert predicted == pytest.approx(truth, rel=0.05)
    assert found.surface.hbm == pytest.approx(0.6, rel=0.05)
    assert not found.surface.launch_s


def test_the_hosts_launches_are_told_from_the_gpus_time() -> None:
    true = Surface(compute=0.6, hbm=0.7)
    hosted = replace(true, launch_s=((16.0, 60e-6), (64.0, 90e-6)))
    found = Gemm().fit(table_of(hosted, "fp8", "fp8"), H100)["gemm"]["fp8"]
    (until, first), (_, second) = found.surface.launch_s
    assert (until, first, second) == pytest.approx((16.0, 60e-6, 90e-6))
    assert found.residual is not None
    assert found.residual.mape < 0.05
    small = [np.array([8.0]), 1024.0, 1024.0]
    bare = found.surface.seconds(H100, FORMATS["fp8"], *small, launches=False)
    assert true.seconds(H100, FORMATS["fp8"], *small) < bare < 15e-6
    large = [np.array([16384.0]), 7168.0, 7168.0]
    assert found.surface.seconds(H100, FORMATS["fp8"], *large, launches=False) == pytest.approx(
        true.seconds(H100, FORMATS["fp8"], *large), rel=0.05
    )


def test_repeated_shapes_count_as_their_mean() -> None:
    table = table_of(Surface())
    high, low = (table.assign(latency=table["latency"] * f) for f in (1.2, 0.8))
    once = Gemm().fit(table, H100, holdout=False)["gemm"]["bf16"].surface
    twice = Gemm().fit(pd.concat([high, low]), H100, holdout=False)["gemm"]["bf16"].surface
    m, n, k = np.array(UNSEEN, float).T
    assert twice.seconds(H100, FORMATS["bf16"], m, n, k) == pytest.approx(
        once.seconds(H100, FORMATS["bf16"], m, n, k), rel=1e-3
    )


def test_a_table_is_predicted_from_its_calibration_and_without_one_from_the_defaults() -> None:
    true = Surface(compute=0.5, hbm=0.5)
    table = table_of(true)
    fitted = Gemm().fit(table, H100)
    calibration = Calibration("h100", "test", "made up", "2026-01-01", fitted)
    given = Gemm().predict(table, H100, calibration)
    assert set(given.group) == {"gemm bf16"}
    assert given.seconds * 1e3 == pytest.approx(table["latency"].to_numpy(), rel=0.1)
    default = Gemm().predict(table, H100, None)
    assert default.seconds[-1] < 0.8 * given.seconds[-1]


def test_formats_that_the_gpu_cannot_multiply_are_outside() -> None:
    table = table_of(Surface()).head(2).assign(gemm_dtype=["nvfp4", "bfloat16"])
    prediction = Gemm().predict(table, H100, None)
    assert np.isnan(prediction.seconds).tolist() == [True, False]
    assert prediction.outside.tolist() == ["h100 has no matrix units for nvfp4", ""]
    assert Gemm().fit(table[:1], H100) == {"gemm": {}}


@pytest.mark.data
@pytest.mark.skipif(not OPS.is_dir(), reason="no kernel tables in ../shared/data/ops")
def test_widths_and_tokens_left_out_of_the_fit_are_met() -> None:
    """Mean error of rows over 20 µs; 0.041 is reached."""
    table = pd.read_csv(OPS / "h100_sxm" / "trtllm-1.3.0rc20" / "gemm.csv.gz")
    found = Gemm().fit(table[table["gemm_dtype"] == "bfloat16"], H100)["gemm"]["bf16"]
    assert found.residual is not None
    assert found.residual.rows > 500
    assert found.residual.mape < 0.045
    assert abs(found.residual.bias) < 0.02
