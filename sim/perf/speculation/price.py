"""Seconds of a verify step: drafting passes, then one pass of the target over all drafts.

    t(n, k) = host + draft_1(n) + … + draft_k(n) + verify(n · (k + 1))
    speed-up over plain decoding = plain(n) / (t(n, k) / τ(k))

with n sequences, k drafts and τ the mean acceptance length. All passes are priced by the same step
timer: drafting passes are those of a small model, one after the other (each reads its weights
anew), the verify pass is the target's with k + 1 tokens a sequence (`sim.perf.speculation.passes`).
The gain falls with the batch by itself: what is bound by reading weights costs a verify step once,
what is bound by arithmetic (n · (k + 1) tokens, touched experts) k + 1 times.

A draft that reads the target's hidden states (EAGLE, MTP) runs its first pass over all verified
tokens, and prompts through it too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sim.errors import ScenarioError
from sim.perf.drafts import Draft, DraftHost, Drafting
from sim.perf.host import host_of
from sim.perf.price_list import Array, Shapes
from sim.perf.shape import MAX_CAPS
from sim.perf.speculation.acceptance import Tree
from sim.perf.speculation.host import SpeculationHost, speculation_host
from sim.perf.speculation.passes import CAUSES, Passes
from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask
from sim.perf.timers import Timer


@dataclass(frozen=True, slots=True)
class DraftPasses:
    """What drafts, compiled."""

    model: Passes
    once: Passes | None
    sees_verified: bool

    def seconds(self, s: Shapes, tree: Tree, caps: tuple[int, ...]) -> Array:
        """(steps,) seconds of all drafting passes before a verify pass of `tree`."""
        own = _recapped(s, caps, self.model.timer.caps)
        first = tree.tokens if self.sees_verified else 1
        total = _step_s(self.model.causes(own, first, 1))
        if self.once is not None:
            total = total + _step_s(self.once.causes(_headless(own), tree.tokens, 0))
        if tree.steps > 1:
            wider = _without_prompts(own, tree.topk)
            once_more = _step_s(self.model.causes(wider, 1, 1))
            total = total + (tree.steps - 1) * np.where(_some(s), once_more, 0.0)
        return np.asarray(total)


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

    @property
    def caps(self) -> tuple[int, ...]:
        """Limits of attended context of the target."""
        return self.target.timer.caps

    @property
    def stages(self) -> int:
        """One."""
        return 1

    @property
    def draft_tokens(self) -> int:
        """Drafts of a step: the longest path."""
        return self.tree.steps

    def drafting(self, tree: Tree) -> SpeculativeTimer:
        """The same with other drafts."""
        return replace(self, tree=tree)

    def seconds(self, s: Shapes) -> Array:
        """(steps,) seconds of each step; a pass without decodes drafts nothing."""
        return self._host(self.verify_s(s) + self.draft_s(s), s)

    def verify_s(self, s: Shapes) -> Array:
        """(steps,) seconds of the target's GPUs."""
        return _step_s(self._verify(s))

    def draft_s(self, s: Shapes) -> Array:
        """(steps,) seconds of the drafting passes."""
        if self.draft is None:
            return np.zeros(len(s["decodes"]))
        return self.draft.seconds(_ahead(s, self.tree.tokens), self.tree, self.caps)

    def breakdown(self, s: Shapes) -> dict[str, Array]:
        """Seconds by cause, (steps, ranks), `draft_s` among them."""
        out = self._verify(s)
        drafting = self.draft_s(s)
        gpu = _step_s(out) + drafting
        none = np.zeros(s["decodes"].shape)
        out["draft_s"] = drafting[:, None] + none
        out["host_s"] = (self._host(gpu, s) - gpu)[:, None] + none
        return out

    def _verify(self, s: Shapes) -> dict[str, Array]:
        ahead = _ahead(s, self.tree.tokens)
        return self.target.causes(ahead, self.tree.tokens, self.tree.tokens)

    def _host(self, gpu_s: Array, s: Shapes) -> Array:
        """With what the host adds: the plain step's, the engine's for speculation, the draft's."""
        n = s["decodes"].max(axis=1)
        more = self.engine_host.step_s(self.tree.steps if self.draft else 0, self.tree.topk)
        more = more + self.own_host.step_s + self.own_host.sequence_s * n
        gpu_s = gpu_s + np.where(n > 0, more / self.host_speed, 0.0)
        sequences = (s["decodes"] + s["prefills"]).max(axis=1)
        return self.target.timer.host.step_array(gpu_s, sequences)


def compile_speculation(
    draft: Draft,
    draft_tokens: int,
    timer: Timer,
    task: PriceTask,
    target: TableTimer | None = None,
    draft_task: PriceTask | None = None,
) -> SpeculativeTimer:
    """The price list of a target with a draft; `target` and `draft_task` (the draft's model on its
    own devices) are worked out from the target's task when left out. ScenarioError for
    pipelines."""
    if task.spread.stages > 1:
        raise ScenarioError(
            f"speculation: {task.spread.text} has {task.spread.stages} pipeline stages, and a "
            "draft is priced with one; write pp 1"
        )
    made = target or timer.compile(task)
    work = draft.drafting(task.model, task.formats)
    return SpeculativeTimer(
        target=Passes.of(made, task),
        draft=_compiled(work, timer, draft_task or task),
        tree=draft.tree(draft_tokens),
        own_host=draft.host(),
        engine_host=_engine_host(timer),
        host_speed=host_of(task.gpu).speed,
    )


def _engine_host(timer: Timer) -> SpeculationHost:
    return speculation_host(getattr(timer, "engine_profile", None))


def _compiled(work: Drafting, timer: Timer, task: PriceTask) -> DraftPasses | None:
    """The draft's passes; nothing overlaps in them."""
    if work.model is None or work.formats is None:
        return None
    alone = replace(task, model=work.model, formats=work.formats, overlap=None)
    once = None
    if work.once is not None:
        mixing = replace(alone, model=work.once)
        once = Passes.of(timer.compile(mixing), mixing)
    return DraftPasses(Passes.of(timer.compile(alone), alone), once, work.sees_verified)


def _step_s(causes: dict[str, Array]) -> Array:
    """(steps,) the slowest rank's own part and what all do together."""
    total: Array = sum((causes[k] for k in CAUSES), np.zeros(causes["linear_s"].shape))
    return np.asarray(total.max(axis=1))


def _some(s: Shapes) -> Array:
    return np.asarray(s["decodes"].max(axis=1) > 0)


def _ahead(s: Shapes, queries: int) -> Shapes:
    """The keys that the last of a step's queries attends to."""
    more = s["decodes"] * (queries - 1)
    return s | {"context_tokens": s["context_tokens"] + more}


def _headless(s: Shapes) -> Shapes:
    return s | {"sampled": s["decodes"]}


def _without_prompts(s: Shapes, branches: int) -> Shapes:
    """`branches` decodes in place of each, every one of which reads the sequence's keys."""
    none = np.zeros_like(s["decodes"])
    out = {k: none if "prefill" in k or "pairs" in k else v for k, v in s.items()}
    grown = ("decodes", "context_tokens", *(f"capped_{i + 1}" for i in range(MAX_CAPS)))
    out |= {k: s[k] * branches for k in grown}
    return out | {"sampled": out["decodes"]}


def _recapped(s: Shapes, target: tuple[int, ...], own: tuple[int, ...]) -> Shapes:
    """The columns of the target's caps as those of the draft's; the whole context where the target
    has no such cap."""
    out = dict(s)
    for i in range(MAX_CAPS):
        cap = own[i] if i < len(own) else 0
        if cap in target:
            at = target.index(cap) + 1
            out[f"capped_{i + 1}"] = s[f"capped_{at}"]
            out[f"capped_pairs_{i + 1}"] = s[f"capped_pairs_{at}"]
        else:
            n = s["decodes"]
            context = np.minimum(s["context_tokens"], n * cap) if cap else 0 * n
            out[f"capped_{i + 1}"] = context
            out[f"capped_pairs_{i + 1}"] = np.minimum(s["prefill_pairs"], s["prefill_tokens"] * cap)
    return out
