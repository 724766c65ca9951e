"""Fits of the attention tables: they find what made a table, and predict unseen shapes."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.catalog.gpu import load_gpu
from sim.fidelity.fits.context_attention import ContextAttention
from sim.fidelity.fits.generation_attention import GenerationAttention
from sim.perf.calibration import Calibration, Fitted, read_calibration, write_calibration
from sim.perf.surfaces.decode_attention import DecodeAttention
from sim.perf.surfaces.prefill_attention import PrefillAttention

OPS = Path(__file__).parents[3] / "shared/data/ops"
VLLM = OPS / "a100_sxm/vllm-0.14.0"
H100 = load_gpu("h100")


def shapes(steps: tuple[int, ...], lengths: tuple[int, ...]) -> pd.DataFrame:
    heads = ((8, 1), (8, 8), (16, 4), (32, 8), (64, 8))
    rows = [
        (b, i, q, k, 128, "bfloat16", "fp8", s, 0)
        for (q, k), b, i, s in product(heads, (1, 4, 16, 64), lengths, steps)
    ]
    columns = [
        "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim",
        "attn_dtype", "kv_cache_dtype", "step", "window_size",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def calibration(kind: str, surface: object) -> Calibration:
    return Calibration(
        "h100", "made-1", "made", "2026-01-01", {kind: {"bf16/fp8/128": Fitted(surface)}}
    )


def test_a_table_made_by_a_prefill_surface_is_fitted_back() -> None:
    table = shapes((0,), (64, 512, 2048, 8192))
    made = PrefillAttention(tensor=0.5, query_s=8e-8, chunk_query_s=3e-6)
    fit = ContextAttention()
    truth = fit.predict(table, H100, calibration("prefill_attention", made)).seconds
    found = fit.fit(table.assign(latency=truth * 1e3), H100)["prefill_attention"]["bf16/fp8/128"]
    assert found.residual is not None
    assert found.residual.mape < 0.01
    assert found.surface.tensor == pytest.approx(0.5, rel=0.02)


def test_a_table_made_by_a_decode_surface_is_fitted_back() -> None:
    table = shapes((127, 1023, 8191, 32767), (1,))
    made = DecodeAttention(groups=(1.0, 32.0), bandwidth=(0.8, 0.95), ramp_s=(2e-5, 5e-6))
    fit = GenerationAttention()
    truth = fit.predict(table, H100, calibration("decode_attention", made)).seconds
    found = fit.fit(table.assign(latency=truth * 1e3), H100)["decode_attention"]["bf16/fp8/128"]
    assert found.residual is not None
    assert found.residual.mape < 0.02
    for q_heads in (8, 64):
        pace, wanted = (
            surface.coefficients(
                H100, q_heads=q_heads, kv_heads=8, head_dim=128, kv_bytes=1, batch=64
            )[4]
            for surface in (found.surface, made)
        )
        assert float(pace) == pytest.approx(float(wanted), rel=0.03)


def test_repeated_rows_count_as_their_mean() -> None:
    table = shapes((0,), (512, 4096))
    twice = pd.concat([table.assign(latency=0.9), table.assign(latency=1.1)])
    fit = ContextAttention()
    once, both = (
        fit.fit(t, H100, holdout=False)["prefill_attention"]["bf16/fp8/128"].surface
        for t in (table.assign(latency=1.0), twice)
    )
    assert once == both


def test_without_a_calibration_the_architecture_still_gives_seconds() -> None:
    table = shapes((1023,), (1,))
    predicted = GenerationAttention().predict(table, H100, None)
    assert np.isfinite(predicted.seconds).all()
    assert (predicted.outside == "").all()
    assert set(predicted.group) == {"decode attention bf16/fp8/128"}


@pytest.mark.data
@pytest.mark.skipif(not VLLM.exists(), reason="needs ../shared/data/ops")
@pytest.mark.parametrize(
    ("file", "fit", "kind", "most"),
    [
        ("context_attention", ContextAttention(), "prefill_attention", 0.07),
        ("generation_attention", GenerationAttention(), "decode_attention", 0.10),
    ],
)
def test_unseen_head_counts_and_batches_are_within_the_budget(
    file: str, fit: ContextAttention | GenerationAttention, kind: str, most: float, tmp_path: Path
) -> None:
    table = pd.read_csv(VLLM / f"{file}.csv.gz")
    a100 = load_gpu("a100-80")
    found = fit.fit(table, a100)
    score = found[kind]["bf16/bf16/128"].residual
    assert score is not None
    assert score.rows > 500
    assert score.mape < most
    assert abs(score.bias) < 0.05

    path = tmp_path / "vllm-0.14.yaml"
    write_calibration(path, Calibration("a100-80", "vllm-0.14", "test", "2026-01-01", found))
    read = fit.predict(table, a100, read_calibration(path)).seconds
    kept = fit.predict(table, a100, Calibration("a100-80", "", "", "", found)).seconds
    np.testing.assert_allclose(read, kept, rtol=1e-4)
