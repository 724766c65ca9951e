"""What speculation did in a run: how far it drafted, what was accepted, and what that gained.

acceptance_length     tokens ÷ verify steps of a sequence, the target's own token included; of
                      steps with drafts
draft_length          drafts per verify step, weighted by the tokens given
speedup_over_plain    plain step of the same decodes ÷ (their drafts and verify pass), times the
                      tokens of a sequence in it; weighted by the tokens given. Below 1 where
                      speculation costs more than it gives
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.measure.fleet import Fleet
from sim.measure.ledger import Floats
from sim.measure.step_rows import speculates, step_rows
from sim.measure.window import Window
from sim.record.log import Columns
from sim.record.run_folder import RunFolder

READ = (
    "engine", "start_s", "end_s", "n", "decodes", "decode_alone_s", "plain_s", "draft_tokens",
    "drafts", "accepted",
)  # fmt: skip


def speculation_summary(run: RunFolder, window: Window) -> dict[str, Any] | None:
    """Of the steps in the window; by pool too, where several speculate. None where nobody does."""
    if not speculates(run):
        return None
    fleet, rows = Fleet.read(run), step_rows(run, *READ)
    rows = {name: values[rows["decodes"] > 0] for name, values in rows.items()}
    rows["share"] = window.share(rows["start_s"], rows["end_s"])
    pool = fleet.pool[rows["engine"]]
    drafting = [
        i for i, name in enumerate(fleet.pools)
        if any(e.get("speculation", "none") != "none" for e in fleet.engines if e["pool"] == name)
    ]  # fmt: skip
    whole = _summary(rows, np.isin(pool, drafting))
    if len(drafting) > 1:
        whole["pools"] = {fleet.pools[i]: _summary(rows, pool == i) for i in drafting}
    return whole


def _summary(rows: Columns, mine: NDArray[np.bool_]) -> dict[str, Any]:
    r = {name: values[mine] for name, values in rows.items()}
    tokens = (r["n"] * r["decodes"] + r["accepted"]) * r["share"]
    steps = r["n"] * r["decodes"] * r["share"]
    drafted = r["draft_tokens"] > 0
    drafts = float((r["drafts"] * r["share"]).sum())
    each = np.divide(tokens, steps, out=np.ones(len(steps)), where=steps > 0)
    gain = np.divide(r["plain_s"], r["decode_alone_s"], out=np.zeros(len(steps)),
                     where=r["decode_alone_s"] > 0)  # fmt: skip
    accepted = float((r["accepted"] * r["share"]).sum())
    return {
        "draft_length": _mean(r["draft_tokens"], tokens),
        "acceptance_length": _mean(each[drafted], steps[drafted]),
        "acceptance_rate": accepted / drafts if drafts else None,
        "speedup_over_plain": _mean(gain * each, tokens),
        "drafted_share": _mean(drafted.astype(np.float64), tokens),
        "drafts": round(drafts),
        "accepted": round(accepted),
    }


def _mean(values: NDArray[Any], weights: Floats) -> float | None:
    total = float(weights.sum())
    return float((values * weights).sum()) / total if total else None
