"""What speculation did in a run: how far it drafted, what was accepted, and what that gained.

acceptance_length     tokens ÷ verify steps of a sequence, the target's own token included; of
                      steps with drafts
draft_length          drafts per verify step, weighted by the tokens given
speedup_over_plain    seconds that the same tokens would take in plain steps of the same decodes ÷
                      seconds of their drafts and verify passes, both summed. Below 1 where
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
    whole = speculation_numbers(rows, np.isin(pool, drafting))
    if len(drafting) > 1:
        whole["pools"] = {fleet.pools[i]: speculation_numbers(rows, pool == i) for i in drafting}
    return whole


def speculation_numbers(rows: Columns, mine: NDArray[np.bool_]) -> dict[str, Any]:
    """Of some of the rows of `steps`; `share` is the part of a row that counts."""
    r = {name: values[mine] for name, values in rows.items()}
    tokens = (r["n"] * r["decodes"] + r["accepted"]) * r["share"]
    steps = r["n"] * r["decodes"] * r["share"]
    drafted = r["draft_tokens"] > 0
    drafts = float((r["drafts"] * r["share"]).sum())
    each = np.divide(tokens, steps, out=np.ones(len(steps)), where=steps > 0)
    alone = float((r["decode_alone_s"] * r["share"]).sum())
    plain = float((r["plain_s"] * each * r["share"]).sum())
    accepted = float((r["accepted"] * r["share"]).sum())
    return {
        "draft_length": _mean(r["draft_tokens"], tokens),
        "acceptance_length": _mean(each[drafted], steps[drafted]),
        "acceptance_rate": accepted / drafts if drafts else None,
        "speedup_over_plain": plain / alone if alone else None,
        "drafted_share": _mean(drafted.astype(np.float64), tokens),
        "drafts": round(drafts),
        "accepted": round(accepted),
    }


def _mean(values: NDArray[Any], weights: Floats) -> float | None:
    total = float(weights.sum())
    return float((values * weights).sum()) / total if total else None
