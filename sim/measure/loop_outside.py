"""What samples of a loop spend outside of the engines: in tools, with those who score, and in line
for both."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.measure.ledger import Floats
from sim.measure.loop import Loop
from sim.measure.quantiles import stats

LAST = 10
"""One in so many samples of a step counts as its last ones."""


def lives(loop: Loop) -> dict[str, Any]:
    """Seconds of the samples trained on: from submission to the last token, and the parts of their
    lives in tools and in scoring, with what they stood in line for each."""
    s, trained = loop.samples, loop.trained
    parts = {"generation_s": s["generated_s"] - s["submitted_s"]} | {
        name: s[name] for name in ("tools_s", "tools_wait_s", "reward_s", "reward_wait_s")
    }
    return {name: stats(seconds[trained]) for name, seconds in parts.items()}


def tools_part(loop: Loop) -> Floats:
    """Of the time in which each step's trainer waits for tokens, the part that tools take: their
    share of the lives of the step's last tenth of samples (one at least), which it waits for."""
    s, trained = loop.samples, loop.trained
    step, made = s["step"][trained], s["generated_s"][trained]
    life, tools = made - s["submitted_s"][trained], s["tools_s"][trained]
    order = np.lexsort((made, step))
    count = np.bincount(step, minlength=len(loop))
    behind = np.cumsum(count)[step[order]] - np.arange(len(order))  # 1: the very last
    last = order[behind <= np.maximum(count[step[order]] // LAST, 1)]
    whole = np.bincount(step[last], life[last], len(loop))
    spent = np.bincount(step[last], tools[last], len(loop))
    share = np.divide(spent, whole, out=np.zeros(len(loop)), where=whole > 0)
    return np.asarray(np.clip(share, 0.0, 1.0))


def outside(loop: Loop, first: int) -> dict[str, float]:
    """Of the samples that the steps from `first` on trained on: `share` of their lives, from
    submission to reward, in tools or scoring; and of the time in tools and in scoring, the parts
    spent in line."""
    s = loop.samples
    mine = loop.trained & (s["step"] >= first)
    total = {
        name: float(s[name][mine].sum())
        for name in ("tools_s", "tools_wait_s", "reward_s", "reward_wait_s")
    }
    life = float((s["scored_s"] - s["submitted_s"])[mine].sum())
    return {
        "share": _ratio(total["tools_s"] + total["reward_s"], life),
        "tools_in_line": _ratio(total["tools_wait_s"], total["tools_s"]),
        "reward_in_line": _ratio(total["reward_wait_s"], total["reward_s"]),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
