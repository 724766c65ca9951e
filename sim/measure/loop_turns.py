"""Whether rollouts and trainer of a loop take turns, and how long the rollouts stand idle while the
trainer works."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.measure.ledger import Floats
from sim.measure.loop import Loop
from sim.measure.spells import Spells
from sim.measure.utilisation import Activity
from sim.record.tables import ACTORS, PHASES

AT_ONCE = 0.01
"""Share of the trainer's work in which a loop that takes turns may still generate: passes that were
running when it began. assumed: well above a pass, well below a batch made ahead."""


def takes_turns(loop: Loop) -> bool:
    """Whether nothing is generated while the trainer works."""
    if loop.facts["colocated"]:
        return True
    c = loop.phases
    making = _is(loop, "rollout", "generation")
    working = (c["actor"] == ACTORS.index("trainer")) & (c["phase"] != PHASES.index("wait"))
    start, end = _spans(loop, working, 0)
    made = Spells(np.zeros(making.sum(), dtype=np.int64), c["start_s"][making], c["end_s"][making])
    both = made.filled(end, np.ones(1)) - made.filled(start, np.ones(1))
    return float(both.sum()) <= AT_ONCE * float((end - start).sum())


def idle_beside_work(loop: Loop, activity: Activity, spells: Spells, first: int) -> float:
    """Share of the time of the steps from `first` on in which a GPU of the rollouts runs nothing
    and the trainer does not wait."""
    fleet = activity.fleet
    gpus = fleet.gpus.astype(np.float64)
    whole = np.array([loop.steps["start_s"][first], loop.end_s])
    start, end = _spans(loop, _is(loop, "trainer", "wait"), first)
    busy = np.diff(spells.filled(whole, gpus))[0]
    in_waits = float((spells.filled(end, gpus) - spells.filled(start, gpus)).sum())
    length, waits = float(np.diff(whole)[0]), float((end - start).sum())
    idle = (length - waits) * fleet.total_gpus - (busy - in_waits)
    return max(0.0, float(idle)) / max(length * fleet.total_gpus, 1e-300)


def _is(loop: Loop, actor: str, phase: str) -> NDArray[np.bool_]:
    c = loop.phases
    mine = (c["actor"] == ACTORS.index(actor)) & (c["phase"] == PHASES.index(phase))
    return np.asarray(mine)


def _spans(loop: Loop, rows: NDArray[np.bool_], first: int) -> tuple[Floats, Floats]:
    """Begins and ends of some phases, cut to the steps from `first` on."""
    since, until = loop.steps["start_s"][first], loop.end_s
    c = loop.phases
    return np.clip(c["start_s"][rows], since, until), np.clip(c["end_s"][rows], since, until)
