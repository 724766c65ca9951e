"""Seconds by cause of runs of steps, from a few of their steps, against those from all of them."""

from typing import Any, cast

import numpy as np
import pytest
from helpers import generated, play, serving

from sim.perf.epochs import Epochs
from sim.record.tables import STEPS
from sim.scenario.breakdown import FEW_STEPS, Breakdown

LONG = generated(24, 1, 1, {"poisson": {"rate_per_s": 1.0}}) | {
    "prompt_tokens": {"uniform": {"min_tokens": 50, "max_tokens": 6000}},
    "output_tokens": {"uniform": {"min_tokens": 5, "max_tokens": 1500}},
}

DRIFTING = {"calibrated": {"routing": {"drifting": {"exponent": 1.2, "epoch_steps": 7}}}}

MACHINES: dict[str, dict[str, Any]] = {
    "one GPU": {},
    "windows": {"model": "gpt-oss-120b", "topology": "dgx_h100"},
    "latent attention": {
        "model": "deepseek-v3",
        "topology": {"name": "dgx_h100", "nodes": 2},
        "pools": {"serve": {"layout": {"dp_attention": {"dp": 16}}}},
    },
    "experts in lockstep": {
        "model": "qwen3-30b-a3b",
        "topology": "dgx_h100",
        "pools": {"serve": {"layout": {"dp_attention": {"dp": 4}}}},
    },
    "pipeline": {"topology": "dgx_h100", "pools": {"serve": {"layout": {"tensor": {"pp": 2}}}}},
    "streams": {
        "model": "qwen3-30b-a3b",
        "topology": "dgx_h100",
        "pools": {"serve": {"layout": {"tensor": {"tp": 4}}, "overlap": "nano_batches"}},
    },
    "drifting experts": {
        "model": "qwen3-30b-a3b",
        "topology": "dgx_h100",
        "pools": {"serve": {"layout": {"tensor": {"tp": 4}}, "timer": DRIFTING}},
    },
}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_few_steps_of_a_run_say_what_all_of_them_do(machine: str) -> None:
    tree = serving(LONG, **MACHINES[machine])
    all_of_them = play(tree).table("steps")
    a_few = play(tree | {"record": {"clock": "runs"}}).table("steps")
    assert (all_of_them["n"] > FEW_STEPS).sum() > 10
    for column in STEPS.all_columns:
        one, other = a_few[column.name].to_numpy(), all_of_them[column.name].to_numpy()
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=column.name)


class Kinked:
    """A timer whose steps take a second until they attend to 1,000 tokens, and then grow."""

    epoch_steps = 0

    @property
    def timer(self) -> "Kinked":
        return self

    def breakdown(self, s: dict[str, Any]) -> dict[str, Any]:
        seconds = np.maximum(1.0, 0.001 * s["context_tokens"])
        return {c.name: seconds for c in STEPS.derived}


@pytest.mark.parametrize("first", [400, 880, 995, 999, 1500])
def test_a_run_across_a_kink_in_the_price_is_the_sum_of_its_steps(first: int) -> None:
    """100 steps of 4 sequences; the kink lies behind, in the middle, near an end or ahead."""
    n = 100
    logged = {c.name: np.zeros(1, dtype=np.int64) for c in STEPS.columns}
    logged |= {k: np.array([v]) for k, v in {"n": n, "decodes": 4, "context_tokens": first}.items()}
    breakdown = Breakdown(from_samples=True)
    breakdown.add(0, cast("Epochs", Kinked()), 1)
    expected = sum(max(1.0, 0.001 * (first + 4 * i)) for i in range(n))
    assert breakdown(logged)["linear_s"] == pytest.approx([expected], rel=1e-12)
