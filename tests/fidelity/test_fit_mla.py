"""Fits of latent attention predict head counts that they have not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.catalog.gpu import load_gpu
from sim.fidelity.fits import Fit
from sim.fidelity.fits.context_mla import ContextMla
from sim.fidelity.fits.generation_mla import GenerationMla
from sim.fidelity.fits.mla_context_module import MlaContextModule
from sim.fidelity.fits.mla_generation_module import MlaGenerationModule
from sim.perf.calibration import Calibration, read_calibration, write_calibration
from sim.perf.surfaces.latent_block import LatentBlock
from sim.perf.surfaces.latent_decode import LatentDecode
from sim.perf.surfaces.latent_prefill import LatentPrefill

OPS = Path(__file__).parents[3] / "shared/data/ops"
H100 = load_gpu("h100")
DATA = [
    pytest.mark.data,
    pytest.mark.skipif(not OPS.exists(), reason=f"the recorded tables {OPS} are not here"),
]


def table_of(surface: LatentDecode) -> pd.DataFrame:
    """A kernel table as `surface` would have been measured."""
    shapes = [
        (h, b, s) for h in (1, 2, 4, 16, 32, 128) for b in (1, 8, 64, 512) for s in (1, 255, 8191)
    ]
    frame = pd.DataFrame(shapes, columns=["num_heads", "batch_size", "step"]).assign(
        isl=1, mla_dtype="bfloat16", kv_cache_dtype="bfloat16", kernel_source="default"
    )
    context = frame["batch_size"] * (frame["step"] + 1)
    seconds = surface.seconds(H100, frame["num_heads"], frame["batch_size"], context)
    return frame.assign(latency=seconds * 1e3)


def test_figures_that_made_a_table_are_found_again() -> None:
    made = LatentDecode(memory=0.8, compute=0.5, narrow=0.9, sole=1.5, start_s=8e-6, tile_s=7e-6)
    table = table_of(made)
    fitted = GenerationMla().fit(table, H100)["latent_decode"]["bf16/bf16"]
    assert fitted.surface.memory == pytest.approx(0.8, rel=0.05)
    assert fitted.surface.compute == pytest.approx(0.5, rel=0.05)
    assert fitted.residual is not None
    assert fitted.residual.mape < 0.05


def test_without_a_calibration_the_architecture_serves() -> None:
    table = table_of(LatentDecode())
    prediction = GenerationMla().predict(table, H100, None)
    assert np.isfinite(prediction.seconds).all()
    assert (prediction.outside == "").all()


def test_surfaces_survive_the_calibration_file(tmp_path: Path) -> None:
    fitted = GenerationMla().fit(table_of(LatentDecode(sole=2.0)), H100)
    path = tmp_path / "any.yaml"
    write_calibration(path, Calibration("h100", "any", "made", "2026-01-01", fitted))
    surface = fitted["latent_decode"]["bf16/bf16"].surface
    found = read_calibration(path).find("latent_decode", "bf16/bf16")
    assert found is not None
    assert found.surface.multiplies == surface.multiplies
    assert found.surface.sole == pytest.approx(surface.sole, rel=1e-5)


def measured(folder: str, name: str) -> pd.DataFrame:
    return pd.read_csv(OPS / folder / f"{name}.csv.gz")


@pytest.mark.parametrize("fit", [ContextMla(), GenerationMla()], ids=lambda f: type(f).__name__)
@pytest.mark.parametrize(
    ("gpu", "folder"),
    [("h100", "h100_sxm/trtllm-1.3.0rc20"), ("b200", "b200_sxm/trtllm-1.3.0rc20")],
)
class TestKernels:
    pytestmark = DATA

    def test_unseen_head_counts_and_batches_are_within_a_tenth(
        self, fit: Fit, gpu: str, folder: str
    ) -> None:
        name = "context_mla" if isinstance(fit, ContextMla) else "generation_mla"
        for kinds in fit.fit(measured(folder, name), load_gpu(gpu)).values():
            for variant, fitted in kinds.items():
                assert fitted.residual is not None
                assert fitted.residual.mape < 0.10, variant
                assert abs(fitted.residual.bias) < 0.05, variant


@pytest.mark.data
@pytest.mark.skipif(not OPS.exists(), reason=f"the recorded tables {OPS} are not here")
@pytest.mark.parametrize(
    ("fit", "name"),
    [
        (MlaContextModule(), "mla_context_module"),
        (MlaGenerationModule(), "mla_generation_module"),
    ],
    ids=("prefill", "decode"),
)
def test_whole_blocks_of_unseen_head_counts_are_within_a_tenth(fit: Fit, name: str) -> None:
    fitted = fit.fit(measured("h100_sxm/vllm-0.24.0", name), H100)
    kernel = LatentPrefill if "context" in name else LatentDecode
    kinds = {type(f.surface) for kind in fitted.values() for f in kind.values()}
    assert kinds == {kernel, LatentBlock}
    phase = "prefill" if "context" in name else "decode"
    assert set(fitted["latent_block"]) == {f"{phase} bf16", f"{phase} fp8_block"}
    for kind in fitted.values():
        for variant, one in kind.items():
            assert one.residual is not None
            assert one.residual.mape < 0.10, variant


@pytest.mark.data
@pytest.mark.skipif(not OPS.exists(), reason=f"the recorded tables {OPS} are not here")
def test_figures_of_the_h100_serve_the_h200() -> None:
    gpu = load_gpu("h200")
    figures = GenerationMla().fit(measured("h100_sxm/trtllm-1.3.0rc20", "generation_mla"), H100)
    table = measured("h200_sxm/trtllm-1.3.0rc20", "generation_mla")
    lent = Calibration("h100", "trtllm-1.3", "", "", figures)
    prediction = GenerationMla().predict(table, gpu, lent)
    seconds = table["latency"].to_numpy() / 1e3
    error = (prediction.seconds / seconds - 1)[seconds > 20e-6]
    assert np.abs(error).mean() < 0.10
    assert abs(error.mean()) < 0.05
