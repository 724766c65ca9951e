"""What a deployment asks of the pools that it puts together."""

from __future__ import annotations

from sim.cluster.deployments.aggregated import Aggregated
from sim.cluster.deployments.disaggregated import Disaggregated
from sim.engine.orders.fcfs import Fcfs
from sim.errors import ScenarioError
from sim.plugins import name_of
from sim.rl.cadences.repacking import Repacking
from sim.scenario.settings import Settings


def check_pools(s: Settings) -> None:
    """The pools that the deployment asks for are there, and no others."""
    wanted = s.deployment.pools()
    for name in wanted or ():
        if name not in s.pools:
            raise ScenarioError(
                f"pools: the deployment needs a pool '{name}', and the pools are "
                f"{', '.join(s.pools)}; rename one, or name it under deployment"
            )
    unused = [n for n in s.pools if wanted is not None and n not in wanted]
    if unused:
        raise ScenarioError(
            f"pools: '{unused[0]}' is not used by the deployment; remove it or name it there"
        )


def check_pairing(s: Settings) -> None:
    """Room that is promised in order of arrival must be used in that order, or both pools fill up
    with those who wait for each other."""
    d = s.deployment
    if s.rl is not None and isinstance(s.rl.cadence, Repacking) and not isinstance(d, Aggregated):
        raise ScenarioError(
            "rl.cadence: repacking gives prompts to engines and moves samples between them, and "
            f"deployment {name_of(d)} hands them from pool to pool; write deployment: aggregated"
        )
    if isinstance(d, Disaggregated) and d.pair_at == "arrival":
        order = s.pools[d.prefill].engine.order
        if not isinstance(order, Fcfs):
            raise ScenarioError(
                f"pools.{d.prefill}.engine.order: {name_of(order)} lets prompts overtake each "
                "other, and pair_at: arrival promises decode room in order of arrival; write fcfs, "
                "or pair_at: prefill_end"
            )
