"""What a pool's engines are made of, whether they speculate or not: price lists, lanes, and who
chooses the draft length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sim.engine.drafting import Drafting
from sim.engine.engine import Engine
from sim.engine.lane import Lane
from sim.engine.speculations import DraftServices, Situation
from sim.engine.verified import Verified
from sim.engine.verify_lane import AnyLane, VerifyLane
from sim.errors import ScenarioError
from sim.perf.epochs import AnyTimer
from sim.perf.speculation.choice import gain_at, length_of
from sim.perf.speculation.price import SpeculativeTimer, compile_speculation
from sim.perf.speculation.verdicts import Verdicts
from sim.scenario.pools import PoolPlan
from sim.scenario.speculating import DraftPlan

Journal = tuple[tuple[Verified, ...], ...]
"""What verify steps gave, by slot and rank."""


@dataclass(eq=False, slots=True)
class Compiled:
    """Price lists of a pool; engines that lie alike share one."""

    pool: PoolPlan
    _known: dict[tuple[int, int], AnyTimer] = field(default_factory=dict)

    def timer(self, engine: int) -> AnyTimer:
        """Of the pool's engine of this number."""
        p, task = self.pool, self.pool.tasks[engine]
        own = None if p.drafting is None else p.drafting.tasks[engine]
        key = (id(task), id(own))
        if key not in self._known:
            timer = p.settings.timer
            self._known[key] = (
                timer.compile(task)
                if p.drafting is None
                else compile_speculation(
                    p.drafting.draft, p.drafting.most.steps, timer, task, None, own
                )
            )
        return self._known[key]


@dataclass(eq=False, slots=True)
class Lanes:
    """Makes the lanes of a pool's engines."""

    pool: PoolPlan
    seed: int
    _verdicts: Verdicts | None = field(init=False)

    def __post_init__(self) -> None:
        d = self.pool.drafting
        self._verdicts = None if d is None else Verdicts(d.draft.acceptance, self.seed)

    def of_rank(self, caps: tuple[int, ...]) -> list[AnyLane]:
        """One for every slot."""
        p, block = self.pool, self.pool.settings.engine.block_size
        slots, groups = range(p.spread.stages), p.memory.groups
        if p.drafting is None or self._verdicts is None:
            return [Lane(block, groups, caps) for _ in slots]
        most, context = p.drafting.most, p.context_tokens
        return [VerifyLane(block, groups, caps, self._verdicts, most, context) for _ in slots]

    def journal(self, engine: Engine) -> Journal:
        """What its verify steps give; empty where it does not speculate."""
        if self.pool.drafting is None:
            return ()
        return tuple(tuple(lane.verified for lane in _verifying(f.lanes)) for f in engine.flights)

    def adapt(self, engine: Engine, timer: AnyTimer) -> None:
        """Let the pool's policy choose the draft length of every slot."""
        plan, budget = self.pool.drafting, self.pool.settings.engine.max_num_batched_tokens
        if plan is None or not isinstance(timer, SpeculativeTimer):
            return
        gain = _gain(plan, timer, budget, self.pool.spread.ranks)
        for flight in engine.flights:
            try:
                chooser = plan.length.start(DraftServices(plan.most.steps, gain))
            except ValueError as mistake:
                raise ScenarioError(f"pools.{self.pool.name}.draft_length: {mistake}") from mistake
            if chooser is not None:
                lanes = _verifying(flight.lanes)
                flight.drafting = Drafting(chooser, plan.trees, budget, lanes)


def _verifying(lanes: list[AnyLane]) -> list[VerifyLane]:
    return [lane for lane in lanes if isinstance(lane, VerifyLane)]


def _gain(
    plan: DraftPlan, timer: SpeculativeTimer, budget: int, ranks: int
) -> Callable[[Situation, int], float]:
    """Speed-ups by the engine's own price list; none for drafts that its budget has no room for."""
    lengths = [length_of(plan.draft, k) for k in range(len(plan.trees))]

    def gain(now: Situation, drafts: int) -> float:
        tree = plan.trees[drafts]
        if tree.tokens * now.sequences > budget:
            return 0.0
        return gain_at(timer, lengths[drafts], tree, now.sequences, now.context_tokens, ranks)

    return gain
