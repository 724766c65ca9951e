"""How far off predictions may be: the project's own targets, by metric."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sim.fidelity.groups import Group


@dataclass(frozen=True, slots=True)
class Target:
    """An upper bound for one figure of the groups whose name fits."""

    kind: str
    pattern: str
    """Regular expression, looked for in the group's name."""
    figure: str
    """A field of `Group`."""
    at_most: float

    @property
    def text(self) -> str:
        """`MAPE ≤ 6 %`."""
        return f"{NAMES[self.figure]} ≤ {100 * self.at_most:g} %"

    def met_by(self, group: Group) -> bool | None:
        """None without rows."""
        value: float | None = getattr(group, self.figure)
        return None if value is None else value <= self.at_most


NAMES = {"mape": "MAPE", "median_ape": "median", "p90_ape": "p90"}

TARGETS = (
    Target("ops", r"gemm (bf16|fp16)", "mape", 0.06),
    Target("ops", r"gemm (fp8|fp8_block|nvfp4)", "mape", 0.12),
    Target("ops", r"(attention|latent|mla)", "mape", 0.10),
    Target("ops", r"(moe|experts)", "mape", 0.18),
    Target("ops", r"(nccl|custom.all.?reduce)", "mape", 0.10),
    Target("ops", r"(?i)deepep", "mape", 0.20),
    Target("steps", r"prompt time", "mape", 0.20),
    Target("steps", r"token time", "mape", 0.12),
    Target("points", r"TPOT", "mape", 0.10),
    Target("points", r"TTFT", "median_ape", 0.30),
    Target("run", r"mean TTFT", "mape", 0.15),
    Target("run", r"mean (TPOT|latency)", "mape", 0.12),
    Target("spec", r"sign of the speed-up", "mape", 0.10),
    Target("spec", r"speed-up$", "mape", 0.15),
)
"""The first that fits counts. Groups of short rows have none."""


def target_of(group: Group) -> Target | None:
    """The target of a group, if it has one."""
    if group.is_small:
        return None
    fitting = (t for t in TARGETS if t.kind == group.kind and re.search(t.pattern, group.group))
    return next(fitting, None)
