"""From a planned loop to one that is ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim.clock import Clock
from sim.cluster.cluster import Cluster
from sim.engine.engine import Engine
from sim.network.fabric import Fabric
from sim.network.topology import Topology
from sim.record.log import Log
from sim.rl.books import Books
from sim.rl.environments import EnvironmentServices
from sim.rl.learner import Learner
from sim.rl.loop import Loop
from sim.rl.planning import ENVIRONMENT, RlPlan
from sim.rl.rewards import REWARD, RewardServices
from sim.rl.rollouts import Rollouts
from sim.rl.upkeep import Upkeep
from sim.rl.weight_sync import Mover, Updates
from sim.rng import Draws


@dataclass(frozen=True, slots=True)
class LoopServices:
    """What a loop is started with."""

    clock: Clock
    log: Log
    fabric: Fabric
    topology: Topology
    cluster: Cluster
    engines: list[Engine]
    draws: Callable[[str], Draws]


def open_rollouts(plan: RlPlan) -> Rollouts:
    """The loop's clients, before time exists."""
    s = plan.settings
    return Rollouts(plan.prompts, s.steps * s.prompts_per_step * s.samples_per_prompt)


def build_loop(plan: RlPlan, rollouts: Rollouts, services: LoopServices) -> Loop:
    """The loop, with nothing begun."""
    s, clock = plan.settings, services.clock
    mover = Mover(clock, services.fabric, services.topology)
    books = Books(clock, services.log)
    rollouts.environment = s.environment.start(
        EnvironmentServices(clock, services.draws(ENVIRONMENT), plan.prompts.base)
    )
    draws = services.draws(REWARD)
    rollouts.reward = s.reward.start(RewardServices(clock, draws, plan.scorers, plan.prompts.base))
    rollouts.look_again = services.cluster.look_again
    rollouts.cancel = services.cluster.cancel
    rollouts.move = lambda number, engine, kv: services.cluster.move(number, engine, send_kv=kv)
    services.cluster.on_end = rollouts.ended
    upkeep = Upkeep(
        s.trainer, plan.trainer, plan.devices, books, mover, services.draws("rl.failures")
    )
    return Loop(
        steps=s.steps,
        prompts_per_step=s.prompts_per_step,
        cadence=s.cadence,
        clock=clock,
        books=books,
        rollouts=rollouts,
        learner=Learner(s.trainer, plan.trainer, plan.devices, s.prepare_s, books, mover, upkeep),
        mover=mover,
        filter=s.filter.start(services.draws("rl.filter")),
        updates=Updates(mover, services.engines, plan.to_engines, rollouts.loaded),
        to_training=plan.to_training,
    )
