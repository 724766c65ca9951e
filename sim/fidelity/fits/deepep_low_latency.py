"""DeepEP's low-latency mode: `dispatch`, variant `deepep_low_latency`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Prediction
from sim.fidelity.fits import _exchange as exchange
from sim.perf.calibration import Calibration, Fitted
from sim.perf.surfaces.dispatch import COMBINE, DISPATCH, Dispatch

Array = NDArray[np.float64]

VARIANT = "deepep_low_latency"

START = Dispatch(
    copies_per="expert",
    launch_s=(9e-6, 10e-6),
    expert_s=(15e-9, 10e-9),
    far_launch_s=(7.7e-6, 13e-6),
    domain_s=(1.2e-6, 0.26e-6),
    up=(0.6, 0.5),
    out=(0.95, 0.93),
    token_s=(5e-9, 5e-9),
    receive_s=(1.5e-7, 3e-8),
)
"""Where the search begins. What no row tells stays: the figures between nodes are those of H100,
for a GPU that was measured on one node only."""
NEAR = ("launch_s", "expert_s", "token_s", "up", "receive_s")
FAR = ("far_launch_s", "domain_s", "out")


@dataclass(frozen=True, slots=True)
class DeepepLowLatency:
    """Reads `collectives/deepep_low_latency.csv.gz` for one GPU: `hidden_size`, `num_token` (per
    GPU), `num_topk`, `num_experts` on `node_num` nodes of 8; microseconds."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """Held out: hidden size 6144, 128 experts at hidden size 4096, two nodes with 288 experts,
        and the token counts 8, 64 and 512."""
        left_out = _left_out(table)
        seen = table[~left_out] if holdout else table
        far = bool((seen["node_num"] > 1).any())
        free = NEAR + FAR if far else NEAR
        made = exchange.calls(seen, gpu)
        surface = exchange.solve(
            START, {DISPATCH: free, COMBINE: free}, made, self.measured_ways(seen)
        )
        held = table[left_out]
        check = (exchange.calls(held, gpu), self.measured_ways(held)) if holdout else None
        return {"dispatch": {VARIANT: exchange.fitted(surface, seen, check)}}

    def measured_ways(self, table: pd.DataFrame) -> tuple[Array, Array]:
        """Seconds of dispatch and of combine."""
        return (
            table["dispatch_avg_t_us"].to_numpy(float) * 1e-6,
            table["combine_avg_t_us"].to_numpy(float) * 1e-6,
        )

    def measured(self, table: pd.DataFrame) -> Array:
        """Seconds of dispatch and combine together."""
        dispatch, combine = self.measured_ways(table)
        return dispatch + combine

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Dispatch and combine together; by the start's figures where nothing was fitted."""
        found = calibration.find("dispatch", VARIANT) if calibration else None
        return exchange.predict(found.surface if found else START, table, gpu, None, VARIANT)


def _left_out(table: pd.DataFrame) -> pd.Series[bool]:
    hidden, experts, tokens = table["hidden_size"], table["num_experts"], table["num_token"]
    shapes = (hidden == 6144) | ((hidden == 4096) & (experts == 128)) | (experts == 288)
    return shapes | tokens.isin([8, 64, 512])
