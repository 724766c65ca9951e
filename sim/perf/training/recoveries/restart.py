"""Everything from the last checkpoint."""

from __future__ import annotations

from sim.perf.training.recoveries import Damage, NonNegative, Outage
from sim.settings import settings


@settings
class Restart:
    """Everyone starts again from the last checkpoint."""

    detect_s: NonNegative = 60.0
    """Until the failure is noticed. assumed: a watchdog of a minute (PyTorch's own time-out of
    NCCL is ten)."""
    restart_s: NonNegative = 120.0
    """A spare node, processes, imports, compiling. assumed."""
    init_s: NonNegative = 82.0
    """Communicators of all: 82 times the less than one second of an edit (ElasWave, abstract)."""

    def outage(self, damage: Damage) -> Outage:
        """T = detect + restart + load + init, and the work since the checkpoint again."""
        stop = self.detect_s + self.restart_s + damage.load_s + self.init_s
        return Outage(stop, damage.lost_s)

    def overhead_s(self, forward_s: float, bubble_s: float) -> float:
        """None."""
        return 0.0
