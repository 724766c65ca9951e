"""Separate pools that never wait for each other longer than staleness asks: engines generate all
the time, the trainer takes what is ready.

How far generation may run ahead is AReaL's rule (arXiv 2505.24298, equation 3): the N-th prompt may
be submitted when floor((N − 1)/B) ≤ version + staleness. NeMo-RL bounds the age of what is trained
on instead (`max_age`: a sample begun under version v serves steps v … v + max_age).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sim.perf.training.asynchrony import admissible
from sim.rl.cadences import Steps
from sim.settings import settings
from sim.units import NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from sim.rl.loop import Loop


@settings
class Asynchronous:
    """Generation and training side by side."""

    staleness: NonNegativeInt = 1
    """Versions that a prompt may be ahead of the trainer when it is submitted (AReaL's η,
    `max_head_offpolicyness`). 0: a batch is submitted when the one before it has been trained on.
    More than the loop has steps is as many as those."""
    update: Literal["in_flight", "interrupt", "drain"] = "in_flight"
    """What new weights do to samples that are being generated. `in_flight`: engines pause after a
    pass, load, and go on with the KV they have. `interrupt`: the KV of every sample is dropped and
    computed again under the new weights (AReaL). `drain`: nothing new is begun until all samples
    are done, then weights are loaded."""
    max_age: NonNegativeInt | None = None
    """Groups submitted so many versions before the trainer's are the oldest trained on
    (`max_trajectory_age_steps`); older ones are dropped as stale. None: all are trained on."""
    order: Literal["as_ready", "oldest_first", "in_order"] = "oldest_first"
    """Which groups a step takes: those ready first, the oldest of those that are ready (AReaL), or
    those submitted first, for whose longest sample it waits. With the last no group is older than
    `staleness`; with the others one that takes long may be."""
    sync_every: PositiveInt = 1
    """Steps between two weight syncs (veRL's `trigger_parameter_sync_step`)."""

    def __post_init__(self) -> None:
        if self.max_age is not None and self.max_age < self.sync_every - 1:
            raise ValueError(
                f"max_age {self.max_age} can never be met with sync_every {self.sync_every}: "
                f"engines lag up to {self.sync_every - 1} versions by themselves; write max_age "
                f"{self.sync_every - 1} or more, or sync more often"
            )

    def check(self, colocated: bool, pulls: bool) -> None:
        """Both work at once, so each needs its own GPUs."""
        if colocated:
            raise ValueError(
                "asynchronous generates while it trains, and trainer.placement is colocated; write "
                "placement: apart, or cadence: synchronous"
            )

    def play(self, loop: Loop) -> Steps:
        """The trainer's side; prompts are submitted at every new version."""
        wanted = loop.prompts_per_step
        loop.refill = lambda: self._admit(loop)
        self._admit(loop)
        for step in range(loop.steps):
            while True:
                yield from loop.wait_for(wanted, in_order=self.order == "in_order")
                if not self._drop_old(loop):
                    break
            groups = loop.take(wanted, oldest_first=self.order != "as_ready")
            yield from loop.train(groups)
            if (step + 1) % self.sync_every == 0 or step + 1 == loop.steps:
                yield from self._update(loop)
            loop.close_step(groups)
            if step + 1 < loop.steps:
                self._admit(loop)

    def _admit(self, loop: Loop) -> None:
        """As many prompts as the rule admits now."""
        wanted = loop.prompts_per_step
        ahead = min(self.staleness, loop.steps)
        left = admissible(loop.version, wanted, ahead, loop.submitted - loop.dropped)
        if left:
            loop.submit(left)

    def _drop_old(self, loop: Loop) -> bool:
        """Drop what is too old to be trained on now; whether that leaves too little."""
        if self.max_age is not None:
            loop.drop_stale(loop.version - self.max_age)
        return len(loop.ready) < loop.prompts_per_step

    def _update(self, loop: Loop) -> Steps:
        if self.update == "drain":
            refill, loop.refill = loop.refill, _nothing
            yield from loop.drained()
            loop.refill = refill
        aside = self.staleness > 0 and self.update != "drain"
        yield from loop.sync(keep_kv=self.update != "interrupt", aside=aside)

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []


def _nothing() -> None:
    """While engines run empty nothing is begun."""
