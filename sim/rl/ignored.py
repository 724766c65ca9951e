"""Settings of a weight sync that nothing would look at: refused, not ignored."""

from __future__ import annotations

from sim.perf.training import TrainingLayout
from sim.perf.training.weight_sync import WeightSync


def check_weight_sync(sync: WeightSync, layout: TrainingLayout) -> None:
    """ValueError for a figure given for something that this sync does not do."""
    alone = max(layout.tp, layout.ep * layout.expert_tp) * layout.pp == 1
    gathers = "by: sender, and a trainer whose replicas share the weights (tp, pp or ep above 1)"
    for name, used, needs in (
        ("pieces", sync.by == "relay", "by: relay"),
        ("pcie_fraction", sync.pull, "by: relay and pull: true"),
        ("index_bytes", sync.sparse_share < 1.0, "sparse_share below 1"),
        ("gather", sync.by == "sender" and not alone, gathers),
        ("quantise_tensor_s", sync.quantise != "none", "quantise: sender or receiver"),
    ):
        given = getattr(sync, name)
        if not used and given != getattr(WeightSync(), name):
            shown = given if isinstance(given, str) else f"{given:g}"
            raise ValueError(
                f"weight_sync.{name} {shown} has no effect here; leave it out, or write {needs}"
            )
