"""What speculation comes to at a batch: tokens per step, speed-up over plain decoding, and the
draft length at which it is largest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.perf.drafts import AUTO_UP_TO, Draft
from sim.perf.price_list import Shapes
from sim.perf.shape import MAX_CAPS
from sim.perf.speculation.acceptance import Tree, acceptance_length, tree_survival
from sim.perf.speculation.members import VerifyShape
from sim.perf.speculation.price import SpeculativeTimer, compile_speculation
from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask
from sim.perf.timers import Timer


@dataclass(frozen=True, slots=True)
class Speculation:
    """A draft of one length with its target."""

    draft: Draft
    timer: SpeculativeTimer
    length: float
    """Mean tokens per verify step, the target's own included."""

    def speedup(self, plain: TableTimer, s: Shapes) -> float:
        """Plain step ÷ (step ÷ tokens that it gives), for one row of `s`."""
        step_s = float(self.timer.seconds(s)[0])
        return float(plain.seconds(s)[0]) / (step_s / self.length)


def length_of(draft: Draft, draft_tokens: int) -> float:
    """Mean tokens per verify step with so many drafts."""
    return acceptance_length(tree_survival(draft.acceptance, draft.tree(draft_tokens)))


def gain_at(
    timer: SpeculativeTimer, length: float, tree: Tree, sequences: int, context: int, ranks: int
) -> float:
    """Speed-up over plain decoding of `ranks` ranks that decode so many sequences each, with so
    many keys on each in all, as an engine prices it."""
    capped = [min(context, sequences * cap) for cap in timer.caps]
    capped += [0] * (MAX_CAPS - len(capped))
    shapes = [
        VerifyShape(
            decodes=sequences,
            context_tokens=context,
            sampled=sequences,
            capped_tokens=capped,
            tree=tree,
        )
    ] * ranks
    return timer.plain.price(shapes) / timer.price(shapes) * length


def chosen(
    draft: Draft,
    timer: Timer,
    task: PriceTask,
    plain: TableTimer,
    s: Shapes,
    draft_task: PriceTask | None = None,
) -> Speculation:
    """The draft at its length; with `auto` the length up to 8 whose speed-up at `s` is largest, the
    shortest of equals."""
    lengths = range(1, AUTO_UP_TO + 1) if draft.draft_tokens == "auto" else [draft.draft_tokens]
    first, best, most = None, None, -np.inf
    for k in lengths:
        if first is None:
            first = compile_speculation(draft, k, timer, task, plain, draft_task)
        made = Speculation(draft, first.drafting(draft.tree(k)), length_of(draft, k))
        gain = made.speedup(plain, s)
        if gain > most:
            best, most = made, gain
    if best is None:
        raise ValueError("no draft length is given")
    return best
