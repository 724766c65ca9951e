"""Who takes part in a verify step, as the engine counts it: one step, or a run of steps in which
only lengths change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.shape import MAX_CAPS, StepShape
from sim.perf.speculation.acceptance import Tree

OFF = Tree.chain(0)
"""Nobody drafts: a decode brings one token."""
NOTHING: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


@dataclass(eq=False, slots=True)
class VerifyShape(StepShape):
    """The shape of a step whose decodes are drafted for. The counts are of sequences and of the
    keys that each attends to before the step, the new one included; `tree` says what each brings.

    How a run of steps goes on is in `contexts` (and `capped`, by cap): the sums at step `at` and
    those after it, as long as nobody joins or leaves.
    """

    tree: Tree = OFF
    contexts: NDArray[np.int64] = field(default_factory=lambda: NOTHING)
    capped: tuple[NDArray[np.int64], ...] = ()
    at: int = 0


@dataclass(frozen=True, slots=True)
class Members:
    """One rank's part of a step. Numbers, or arrays over the steps of a run."""

    decodes: int
    contexts: tuple[Any, ...]
    """Keys attended to: all, and limited to each cap of the model."""
    prompts: StepShape | None
    """With the chunks of prompts; None = none."""
    sampled: int
    """Prompts that finish."""

    @property
    def prefill_tokens(self) -> int:
        """Of the chunks."""
        return 0 if self.prompts is None else self.prompts.prefill_tokens

    @staticmethod
    def of(shape: StepShape, ahead: int) -> Members:
        """Of one step, in which each decode attends to `ahead` keys more."""
        n = shape.decodes
        whole = shape.context_tokens + n * ahead
        prompts = shape if shape.prefill_tokens else None
        return Members(n, (whole, *shape.capped_tokens), prompts, shape.sampled - n)

    @staticmethod
    def run_of(shape: VerifyShape, ahead: int, steps: int) -> Members:
        """Of so many successive steps without prompts."""
        n, these = shape.decodes, slice(shape.at, shape.at + steps)
        capped = [c[these] for c in shape.capped]
        capped += [np.zeros(steps, dtype=np.int64)] * (MAX_CAPS - len(capped))
        return Members(n, (shape.contexts[these] + n * ahead, *capped), None, 0)

    def recapped(self, target: tuple[int, ...], own: tuple[int, ...]) -> Members:
        """For a model with caps of its own: the whole context where the target has no such cap."""
        if target == own:
            return self
        contexts = [self.contexts[0]]
        for i in range(MAX_CAPS):
            cap = own[i] if i < len(own) else 0
            if cap in target:
                contexts.append(self.contexts[target.index(cap) + 1])
            elif cap:
                contexts.append(np.minimum(self.contexts[0], self.decodes * cap))
            else:
                contexts.append(0)
        prompts = None if self.prompts is None else _recapped(self.prompts, target, own)
        return Members(self.decodes, tuple(contexts), prompts, self.sampled)

    def wider(self, branches: int) -> Members:
        """`branches` decodes in place of each, every one of which reads the sequence's keys, and no
        prompts."""
        if branches == 1 and self.prompts is None:
            return self
        contexts = tuple(c * branches for c in self.contexts)
        return Members(self.decodes * branches, contexts, None, 0)

    def prompts_alone(self) -> Members:
        """Without the decodes."""
        return Members(0, (0,) * (1 + MAX_CAPS), self.prompts, self.sampled)

    def unsampled(self) -> Members:
        """Without the prompts that finish: nothing goes through a head."""
        return replace(self, sampled=0) if self.sampled else self


def _recapped(s: StepShape, target: tuple[int, ...], own: tuple[int, ...]) -> StepShape:
    """The chunks of a shape, their capped pairs as those of the other caps."""
    pairs = [0] * MAX_CAPS
    for i, cap in enumerate(own):
        if cap in target:
            pairs[i] = s.capped_pairs[target.index(cap)]
        else:
            pairs[i] = min(s.prefill_pairs, s.prefill_tokens * cap)
    return StepShape(
        prefills=s.prefills,
        prefill_tokens=s.prefill_tokens,
        prefill_pairs=s.prefill_pairs,
        prefill_kv_tokens=s.prefill_kv_tokens,
        capped_pairs=pairs,
    )
