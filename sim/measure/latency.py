"""Latencies of requests, after the field's definitions.

    ttft_s   first_token_s − arrival_s                     time to the first visible token
    tpot_s   (end_s − first_token_s) ÷ (n − 1)             of finished requests with n ≥ 2 tokens
    e2e_s    end_s − arrival_s                             of finished requests
    queue_s  first_step_s − arrival_s                      arrival to the first step's start

All arrays have one entry per request, in order of arrival; NaN where a quantity is undefined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import BrokenInvariant
from sim.measure.ledger import Floats, Ints
from sim.record.run_folder import RunFolder
from sim.record.tables import REASONS, STATES

if TYPE_CHECKING:
    import pandas as pd

FINISHED, REJECTED, FAILED, UNFINISHED, CANCELLED = range(len(STATES))

LATENCIES = ("ttft_s", "tpot_s", "e2e_s", "queue_s")


@dataclass(frozen=True, slots=True)
class Requests:
    """The `requests` table, sorted by request, so that a request's number is its row."""

    columns: dict[str, NDArray[Any]]

    @classmethod
    def read(cls, run: RunFolder) -> Requests:
        """Read and sort them. Raises BrokenInvariant when they are not numbered 0, 1, 2 …"""
        c = run.columns("requests")
        number = c["request"]
        if len(number) > 1 and not bool(np.all(number[1:] > number[:-1])):
            order = np.argsort(number, kind="stable")
            c = {name: values[order] for name, values in c.items()}
        if not np.array_equal(c["request"], np.arange(len(number))):
            raise BrokenInvariant("requests are not numbered from 0 without holes")
        return cls(c)

    def __len__(self) -> int:
        return len(self.columns["request"])

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.columns[column]

    @property
    def finished(self) -> NDArray[np.bool_]:
        return np.asarray(self["state"] == FINISHED)

    @property
    def ttft_s(self) -> Floats:
        return np.asarray(self["first_token_s"] - self["arrival_s"])

    @property
    def queue_s(self) -> Floats:
        return np.asarray(self["first_step_s"] - self["arrival_s"])

    @property
    def e2e_s(self) -> Floats:
        whole = self["end_s"] - self["arrival_s"]
        return np.where(self.finished, whole, np.nan)

    @property
    def tpot_s(self) -> Floats:
        more: Ints = self["generated_tokens"] - 1
        defined = self.finished & (more > 0)
        rest = self["end_s"] - self["first_token_s"]
        return np.where(defined, rest / np.maximum(more, 1), np.nan)

    def latency(self, name: str) -> Floats:
        """One of `LATENCIES`."""
        values: Floats = getattr(self, name)
        return values


def meets(requests: Requests, slo: dict[str, float | None]) -> NDArray[np.bool_]:
    """Which requests finished and meet every limit of `slo` (`ttft_s`, `tpot_s`, `e2e_s`).

    A request of one token has no TPOT and cannot miss that limit.
    """
    good = requests.finished.copy()
    for name, limit in slo.items():
        if limit is not None:
            good &= ~(requests.latency(name) > limit)
    return good


def request_frame(run: RunFolder) -> pd.DataFrame:
    """One row per request: the `requests` table, with the latencies beside it."""
    import pandas as pd

    requests = Requests.read(run)
    columns = dict(requests.columns)
    columns["state"] = np.array(STATES, dtype=object)[columns["state"]]
    columns["reason"] = np.array(REASONS, dtype=object)[columns["reason"]]
    return pd.DataFrame(columns | {name: requests.latency(name) for name in LATENCIES})
