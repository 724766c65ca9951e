"""DeepEP's normal mode: `dispatch`, variant `deepep_normal`."""

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

VARIANT = "deepep_normal"

ENGINES = "dispatch_sms"
"""Streaming multiprocessors; the same in all rows for `combine_sms`."""

START = Dispatch(
    copies_per="device",
    launch_s=(25e-6, 25e-6),
    value_s=(0.5e-9, 3e-9),
    far_launch_s=(36e-6, 46e-6),
    domain_s=(9.6e-6, 7.2e-6),
    up=(0.65, 0.65),
    out=(0.91, 0.73),
    congestion=(0.32, 0.24),
    engines=(20.0, 20.0),
    token_s=(1.5e-7, 1.5e-7),
    byte_s=(5e-11, 5e-11),
    relay_s=(1.6e-10, 3.5e-10),
)
"""Where the search begins. What no row tells stays: the figures between nodes are those of H100,
for a GPU that was measured on one node only."""
NEAR = ("launch_s", "value_s", "token_s", "byte_s", "up")
FAR = ("far_launch_s", "domain_s", "relay_s", "out", "congestion")


@dataclass(frozen=True, slots=True)
class DeepepNormal:
    """Reads `collectives/deepep_normal.csv.gz` for one GPU: `hidden_size`, `num_token` (per GPU),
    `num_topk`, `num_experts` on `node_num` nodes of 8, with `dispatch_sms` streaming
    multiprocessors; microseconds. A call takes its notification and its transmission."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """Held out: hidden sizes 3072 and 6144, 22 experts per token, 12 multiprocessors, and the
        token counts 8, 64, 512, 4096 and 32768."""
        left_out = _left_out(table)
        seen = table[~left_out] if holdout else table
        far = bool((seen["node_num"] > 1).any())
        free = NEAR + FAR if far else NEAR
        made = exchange.calls(seen, gpu, ENGINES)
        ways = {DISPATCH: free, COMBINE: free}
        surface = exchange.solve(START, ways, made, self.measured_ways(seen))
        held = table[left_out]
        check = (exchange.calls(held, gpu, ENGINES), self.measured_ways(held)) if holdout else None
        return {"dispatch": {VARIANT: exchange.fitted(surface, seen, check)}}

    def measured_ways(self, table: pd.DataFrame) -> tuple[Array, Array]:
        """Seconds of dispatch and of combine."""
        dispatch = table["dispatch_transmit_us"] + table["dispatch_notify_us"]
        combine = table["combine_transmit_us"] + table["combine_notify_us"]
        return dispatch.to_numpy(float) * 1e-6, combine.to_numpy(float) * 1e-6

    def measured(self, table: pd.DataFrame) -> Array:
        """Seconds of dispatch and combine together."""
        dispatch, combine = self.measured_ways(table)
        return dispatch + combine

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Dispatch and combine together; by the start's figures where nothing was fitted."""
        found = calibration.find("dispatch", VARIANT) if calibration else None
        return exchange.predict(found.surface if found else START, table, gpu, ENGINES, VARIANT)


def _left_out(table: pd.DataFrame) -> pd.Series[bool]:
    shapes = table["hidden_size"].isin([3072, 6144]) | (table["num_topk"] == 22)
    shapes |= table[ENGINES] == 12
    return shapes | table["num_token"].isin([8, 64, 512, 4096, 32768])
