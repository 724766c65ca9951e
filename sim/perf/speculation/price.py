"""Seconds of a verify step: drafting passes, then one pass of the target over all drafts.

    t(n, k) = host + draft_1(n) + … + draft_k(n) + verify(n · (k + 1))
    speed-up over plain decoding = plain(n) / (t(n, k) / τ(k))

with n sequences, k drafts and τ the mean acceptance length. All passes are priced by the same step
timer: drafting passes are those of a small model, one after the other (each reads its weights
anew), the verify pass is the target's with k + 1 tokens a sequence (`sim.perf.speculation.passes`).
The gain falls with the batch by itself: what is bound by reading weights costs a verify step once,
what is bound by arithmetic (n · (k + 1) tokens, touched experts) k + 1 times.

In a pipeline the verify pass goes through the stages and the drafting passes follow on the last
one's devices (or the draft's own), which hold the hidden states they read. A step without drafts
(k = 0) is the plain one, and its prompts still pass through a draft that keeps a KV cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.drafts import Draft, DraftHost, Drafting
from sim.perf.host import host_of
from sim.perf.price_list import Array, Shapes
from sim.perf.shape import StepShape
from sim.perf.speculation.acceptance import Tree
from sim.perf.speculation.commonest import Commonest
from sim.perf.speculation.drafting import DraftPasses
from sim.perf.speculation.host import SpeculationHost, speculation_host
from sim.perf.speculation.last_stage import on_one_stage
from sim.perf.speculation.members import OFF, Members, VerifyShape
from sim.perf.speculation.passes import CAUSES, Passes
from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask
from sim.perf.timers import Timer

RUN_FROM = 10
"""Steps from which a run is quicker priced at once than one by one."""


@dataclass(frozen=True, slots=True)
class SpeculativeTimer:
    """Prices steps in which every decoding sequence is drafted for and verified. `Shapes` count
    sequences, as for plain steps; `context_tokens` the keys of each before the step, and one."""

    target: Passes
    draft: DraftPasses | None
    tree: Tree
    own_host: DraftHost
    """Of the draft."""
    engine_host: SpeculationHost
    """Of the engine."""
    host_speed: float = 1.0
    levels: tuple[SpeculativeTimer, ...] = ()
    """Where expert loads change: as `TableTimer.levels`."""
    _simple: bool = field(init=False, compare=False)
    """Whether one rank's steps without prompts are `Commonest`,"""
    _alike: bool = field(init=False, compare=False)
    """and those with prompts: target and draft have the same caps."""
    _known: dict[tuple[int, ...], Commonest] = field(
        init=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        alone = self.draft is None or self.draft.plain
        object.__setattr__(self, "_simple", self.stages == 1 and self.target.plain and alone)
        models = [] if self.draft is None else [self.draft.model, self.draft.once]
        alike = all(m is None or m.timer.caps == self.caps for m in models)
        object.__setattr__(self, "_alike", alike)

    @property
    def caps(self) -> tuple[int, ...]:
        """Limits of attended context of the target."""
        return self.target.timer.caps

    @property
    def stages(self) -> int:
        """Pipeline stages of the target."""
        return self.target.timer.stages

    @property
    def epoch_steps(self) -> int:
        """As `TableTimer.epoch_steps`."""
        return self.target.timer.epoch_steps

    @property
    def plain(self) -> TableTimer:
        """The steps of the same engine without speculation."""
        return self.target.timer

    @property
    def draft_tokens(self) -> int:
        """Drafts of a step: the longest path."""
        return self.tree.steps

    def drafting(self, tree: Tree) -> SpeculativeTimer:
        """The same with other drafts."""
        return replace(self, tree=tree, levels=tuple(x.drafting(tree) for x in self.levels))

    # ---- the engine's face: shapes carry their tree

    def price(self, shapes: Sequence[StepShape]) -> float:
        """Seconds of one step; one shape a rank."""
        s = shapes[0]
        alone = self._simple and len(shapes) == 1 and (self._alike or not s.prefill_tokens)
        if alone and isinstance(s, VerifyShape) and s.decodes and s.tree.steps:
            return self._commonest(s.tree, s.decodes).seconds(s)
        total = 0.0
        for seconds in self.price_stages(shapes):
            total += seconds
        return total

    def price_stages(self, shapes: Sequence[StepShape]) -> list[float]:
        """Seconds in each stage."""
        tree = shapes[0].tree if isinstance(shapes[0], VerifyShape) else OFF
        ranks = [Members.of(s, tree.tokens - 1) for s in shapes]
        if tree.steps:
            stages = [
                self.target.stage_s(i, ranks, tree.tokens, tree.tokens) for i in range(self.stages)
            ]
        else:
            counts = [s.tokens for s in shapes]
            total, fullest, all_of = sum(counts), max(counts), list(shapes)
            stages = [t.together_s(all_of, total, fullest) for t in self.plain.tables]
        return self._with_the_rest(stages, ranks, tree)

    def price_run(self, shapes: Sequence[StepShape], n: int) -> list[float]:
        """Seconds of each of `n` successive steps with the same members and without prompts."""
        runs = [s for s in shapes if isinstance(s, VerifyShape)]
        tree = runs[0].tree
        if self._simple and len(runs) == 1 and tree.steps and runs[0].decodes:
            return self._common_run(runs[0], n)
        at_once = self.target.plain and (self.draft is None or self.draft.plain)
        if n < RUN_FROM or not at_once:
            return [self.price([_later(s, j) for s in runs]) for j in range(n)]
        ranks = [Members.run_of(s, tree.tokens - 1, n) for s in runs]
        stages = [
            self.target.stage_s(i, ranks, tree.tokens, tree.tokens) for i in range(self.stages)
        ]
        out: Any = 0.0
        for seconds in self._with_the_rest(stages, ranks, tree):
            out = out + seconds
        return np.broadcast_to(out, n).tolist()  # type: ignore[no-any-return]

    def _commonest(self, tree: Tree, n: int) -> Commonest:
        drafts = (tree.steps, tree.topk, tree.tokens, n)
        found = self._known.get(drafts)
        if found is None:
            more_s = self._more_s(tree, n) / self.host_speed
            found = Commonest.of(self.target, self.draft, tree, n, more_s)
            self._known[drafts] = found
        return found

    def _common_run(self, s: VerifyShape, n: int) -> list[float]:
        common, these = self._commonest(s.tree, s.decodes), slice(s.at, s.at + n)
        contexts, capped = s.contexts[these], tuple(c[these] for c in s.capped)
        if n >= RUN_FROM:
            return common.run(contexts, capped)
        return common.steps(contexts.tolist(), [c.tolist() for c in capped])

    def _with_the_rest(self, stages: list[Any], ranks: Sequence[Members], tree: Tree) -> list[Any]:
        """Drafting on the last stage, the host on the first."""
        if self.draft is not None:
            stages[-1] = stages[-1] + self.draft.seconds(ranks, tree, self.caps)
        n = max([m.decodes for m in ranks])
        if n and tree.steps:
            stages[0] = stages[0] + self._more_s(tree, n) / self.host_speed
        sequences = [m.decodes + (0 if m.prompts is None else m.prompts.prefills) for m in ranks]
        stages[0] = self._host_s(stages[0], max(sequences))
        return stages

    def _host_s(self, gpu_s: Any, sequences: int) -> Any:
        if isinstance(gpu_s, np.ndarray):
            return self.plain.host.step_array(gpu_s, np.full(len(gpu_s), sequences))
        return self.plain.host.step_s(gpu_s, sequences)

    def _more_s(self, tree: Tree, n: Any) -> Any:
        """What the host adds to a step that drafts for n sequences: the engine's, the draft's."""
        base = self.engine_host.step_s(tree.steps if self.draft else 0, tree.topk)
        return base + self.own_host.step_s + self.own_host.sequence_s * n

    # ---- the face of searches: all steps with `tree`

    def seconds(self, s: Shapes) -> Array:
        """(steps,) seconds of each step; a pass without decodes drafts nothing."""
        out: Array = np.zeros(len(s["decodes"]))
        for seconds in self.stage_seconds(s):
            out = out + seconds
        return out

    def stage_seconds(self, s: Shapes) -> list[Array]:
        """(steps,) seconds in each stage."""
        out = self._verify_stages(s)
        out[-1] = out[-1] + self.draft_s(s)
        out[0] = self._host(out[0], s)
        return out

    def _verify_stages(self, s: Shapes) -> list[Array]:
        q = self.tree.tokens
        if self.tree.steps:
            ahead = _ahead(s, q)
            return [self.target.stage_array(i, ahead, q, q) for i in range(self.stages)]
        tokens = s["decodes"] + s["prefill_tokens"]
        total, fullest = tokens.sum(axis=1), tokens.max(axis=1)
        return [t.together_array(s, total, fullest) for t in self.plain.tables]

    def verify_s(self, s: Shapes) -> Array:
        """(steps,) seconds of the target's GPUs."""
        out: Array = np.zeros(len(s["decodes"]))
        for seconds in self._verify_stages(s):
            out = out + seconds
        return out

    def draft_s(self, s: Shapes) -> Array:
        """(steps,) seconds of the drafting passes."""
        if self.draft is None:
            return np.zeros(len(s["decodes"]))
        return self.draft.array(_ahead(s, self.tree.tokens), self.tree, self.caps)

    def breakdown(self, s: Shapes) -> dict[str, Array]:
        """Seconds by cause, (steps, ranks), `draft_s` among them."""
        none = np.zeros(s["decodes"].shape)
        if self.tree.steps:
            out = self.target.causes(_ahead(s, self.tree.tokens), *2 * (self.tree.tokens,))
        else:
            plain = self.plain.breakdown(s)
            out = {k: plain[k] for k in CAUSES}
        first = self._verify_stages(s)[0] if self.stages > 1 else self.verify_s(s)
        drafting = self.draft_s(s)
        busy = first if self.stages > 1 else first + drafting
        out["draft_s"] = drafting[:, None] + none
        out["host_s"] = (self._host(busy, s) - busy)[:, None] + none
        return out

    def _host(self, gpu_s: Array, s: Shapes) -> Array:
        """With what the host adds: the plain step's, the engine's for speculation, the draft's."""
        n = s["decodes"].max(axis=1)
        if self.tree.steps:
            gpu_s = gpu_s + np.where(n > 0, self._more_s(self.tree, n) / self.host_speed, 0.0)
        sequences: NDArray[Any] = (s["decodes"] + s["prefills"]).max(axis=1)
        return self.plain.host.step_array(gpu_s, sequences)


def compile_speculation(
    draft: Draft,
    draft_tokens: int,
    timer: Timer,
    task: PriceTask,
    target: TableTimer | None = None,
    draft_task: PriceTask | None = None,
) -> SpeculativeTimer:
    """The price list of a target with a draft; `target` and `draft_task` (the draft's model on its
    own devices) are worked out from the target's task when left out."""
    made = target or timer.compile(task)
    work = draft.drafting(task.model, task.formats)
    whole = SpeculativeTimer(
        target=Passes.of(made, task),
        draft=_compiled(work, timer, draft_task or on_one_stage(task), draft_task is not None),
        tree=draft.tree(draft_tokens),
        own_host=draft.host(),
        engine_host=_engine_host(timer),
        host_speed=host_of(task.gpu).speed,
    )
    levels = (replace(whole, target=Passes.of(level, task)) for level in made.levels)
    return replace(whole, levels=tuple(levels))


def _engine_host(timer: Timer) -> SpeculationHost:
    return speculation_host(getattr(timer, "engine_profile", None))


def _compiled(work: Drafting, timer: Timer, task: PriceTask, by_rank: bool) -> DraftPasses | None:
    """The draft's passes; nothing overlaps in them."""
    if work.model is None or work.formats is None:
        return None
    alone = replace(task, model=work.model, formats=work.formats, overlap=None)
    once = None
    if work.once is not None:
        mixing = replace(alone, model=work.once)
        once = Passes.of(timer.compile(mixing), mixing)
    model = Passes.of(timer.compile(alone), alone)
    return DraftPasses(model, once, work.sees_verified, by_rank)


def _ahead(s: Shapes, queries: int) -> Shapes:
    """The keys that the last of a step's queries attends to."""
    more = s["decodes"] * (queries - 1)
    return s | {"context_tokens": s["context_tokens"] + more}


def _later(s: VerifyShape, steps: int) -> VerifyShape:
    """The shape so many steps later."""
    at = s.at + steps
    capped = [int(c[at]) for c in s.capped]
    return VerifyShape(
        decodes=s.decodes,
        context_tokens=int(s.contexts[at]),
        sampled=s.sampled,
        capped_tokens=capped + [0] * (len(s.capped_tokens) - len(capped)),
        tree=s.tree,
    )
