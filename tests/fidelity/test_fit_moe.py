"""Expert layers against measured tables: what a row means, and how far held-out models are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.catalog.formats import load_format
from sim.catalog.gpu import load_gpu
from sim.fidelity.fits._moe_routing import workloads
from sim.fidelity.fits.moe import Moe
from sim.perf.calibration import Calibration
from sim.perf.surfaces.experts import Experts

OPS = Path(__file__).parents[2].parent / "shared" / "data" / "ops"
H100 = load_gpu("h100")
needs_data = pytest.mark.skipif(
    not OPS.is_dir(), reason="the measured kernels are not in ../shared/data/ops"
)


def table(**columns: object) -> pd.DataFrame:
    row = {"moe_dtype": "bfloat16", "hidden_size": 4096, "inter_size": 14336, "topk": 2,
           "num_experts": 8, "moe_tp_size": 1, "moe_ep_size": 1, "distribution": "balanced",
           "kernel_source": "moe_torch_flow", "num_tokens": 512, "latency": 1.0}  # fmt: skip
    return pd.DataFrame([{**row, **columns}])


def load(**columns: object) -> dict[str, float]:
    rows = table(**columns)
    return dict(workloads(rows, rows["kernel_source"]).iloc[0])


def test_tokens_are_those_of_all_ranks() -> None:
    assert load(moe_ep_size=1)["choices"] == 1024
    assert load(moe_ep_size=4)["choices"] == 256
    assert load(moe_ep_size=4)["given"] == 512


def test_balanced_strides_that_wrap_load_the_first_rank_twice() -> None:
    """512 experts, top 10: strides of 52 wrap over experts 0 to 7, all that rank 0 of 64 has."""
    shape = {"num_experts": 512, "topk": 10, "num_tokens": 5200}
    assert load(**shape, moe_ep_size=64)["choices"] == 2 * 800
    assert load(**shape, moe_ep_size=1)["choices"] == 52_000


def test_sglang_multiplies_all_choices_of_the_tokens_that_reach_a_rank() -> None:
    shape = {"num_experts": 128, "topk": 8, "moe_ep_size": 8, "num_tokens": 4096}
    assert load(**shape)["choices"] == 4096
    assert load(**shape, kernel_source="sglang_fused_moe_triton")["choices"] == 8 * 4096


def test_group_limited_routing_keeps_half_of_the_groups() -> None:
    """Experts 64 to 127 of 128 are in the groups that lose every tie: rank 0 of 2 gets it all."""
    shape = {"num_experts": 128, "topk": 8, "num_tokens": 1024, "moe_ep_size": 2}
    low = load(**shape, kernel_source="moe_torch_flow_min_latency")
    assert (low["choices"], low["touched"]) == (8192, 64)
    assert load(**shape)["choices"] == 4096


def test_the_figures_that_made_a_table_predict_it() -> None:
    made = Experts(floor_s=40e-6, bandwidth=0.7, flops=0.6)
    counts = [1, 4, 16, 64, 256, 1024, 4096, 16384]
    shapes = [(8, 2, 4096, 14336), (64, 4, 2048, 1536), (128, 8, 4096, 1024), (16, 1, 5120, 8192)]
    rows = pd.concat(
        table(num_tokens=t, num_experts=e, topk=k, hidden_size=h, inter_size=w, moe_ep_size=ep)
        for t in counts for e, k, h, w in shapes for ep in (1, 4)
    ).reset_index(drop=True)  # fmt: skip
    work = workloads(rows, rows["kernel_source"])
    rows["latency"] = 1e3 * made.seconds(
        H100, load_format("bf16"), work["choices"].to_numpy(), work["touched"].to_numpy(),
        work["largest"].to_numpy(), rows["hidden_size"].to_numpy(float),
        rows["inter_size"].to_numpy(float), (rows["num_experts"] / rows["moe_ep_size"]).to_numpy(),
        gated=True, tokens=work["given"].to_numpy(), top_k=rows["topk"].to_numpy(float),
    )  # fmt: skip
    surfaces = Moe().fit(rows, H100, holdout=False)
    found = Moe().predict(rows, H100, Calibration("h100", "e", "", "", surfaces))
    error = found.seconds / (rows["latency"] * 1e-3) - 1
    assert np.abs(error).mean() < 0.03
    assert set(found.group) == {"experts bf16 balanced"}


def test_a_format_that_the_gpu_does_not_run_is_outside() -> None:
    a100 = load_gpu("a100-80")
    out = Moe().predict(table(moe_dtype="fp8"), a100, None)
    assert np.isnan(out.seconds).all()
    assert "does not run" in out.outside.iloc[0]
    assert "unknown" in Moe().predict(table(moe_dtype="fp3"), a100, None).outside.iloc[0]


def test_without_measurements_the_architecture_prices_the_layer() -> None:
    out = Moe().predict(table(), H100, None)
    assert (out.seconds > 0).all()
    assert out.outside.iloc[0] == ""


@pytest.mark.data
@needs_data
def test_held_out_models_on_b200_under_vllm() -> None:
    rows = pd.read_csv(OPS / "b200_sxm" / "vllm-0.24.0" / "moe.csv.gz")
    rows = rows[rows["moe_dtype"].isin(["bfloat16", "nvfp4"])]
    fitted = Moe().fit(rows, load_gpu("b200"))["experts"]
    for variant in ("bf16", "nvfp4"):
        held_out = fitted[variant].residual
        assert held_out is not None
        assert held_out.mape < 0.14
        assert abs(held_out.bias) < 0.06
