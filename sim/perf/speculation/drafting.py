"""Seconds of drafting passes: those of a small model, one after the other, before a verify pass.

A draft that reads the target's hidden states (EAGLE, MTP) runs its first pass over all verified
tokens, and prompts through it too. Where nobody drafts, prompts alone pass through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.perf.price_list import Array, Shapes
from sim.perf.shape import MAX_CAPS
from sim.perf.speculation.acceptance import Tree
from sim.perf.speculation.members import Members
from sim.perf.speculation.passes import Passes, larger


@dataclass(frozen=True, slots=True)
class DraftPasses:
    """What drafts, compiled: one stage."""

    model: Passes
    once: Passes | None
    sees_verified: bool
    by_rank: bool = False
    """Whether every rank of the target has a draft to itself, which waits for no other."""

    @property
    def plain(self) -> bool:
        """Whether runs of steps can be priced at once."""
        return self.model.plain and (self.once is None or self.once.plain)

    # ---- the engine's face

    def seconds(self, ranks: Sequence[Members], tree: Tree, caps: tuple[int, ...]) -> Any:
        """Of all drafting passes of a step with `tree`; `caps` are the target's."""
        if not self.by_rank:
            return self._together_s(ranks, tree, caps)
        longest: Any = 0.0
        for one in ranks:
            longest = larger(longest, self._together_s([one], tree, caps))
        return longest

    def _together_s(self, ranks: Sequence[Members], tree: Tree, caps: tuple[int, ...]) -> Any:
        if not tree.steps:
            ranks = [m.prompts_alone() for m in ranks]
            if not any(m.prompts for m in ranks):
                return 0.0
        own_caps = self.model.timer.caps
        own = [m.recapped(caps, own_caps) for m in ranks]
        first = tree.tokens if self.sees_verified else 1
        total = self.model.stage_s(0, own, first, 1)
        if self.once is not None:
            mixed = [m.unsampled() for m in own]
            total = total + self.once.stage_s(0, mixed, tree.tokens, 0)
        if tree.steps > 1 and any(m.decodes for m in own):
            wider = [m.wider(tree.topk) for m in own]
            total = total + (tree.steps - 1) * self.model.stage_s(0, wider, 1, 1)
        return total

    # ---- the face of searches

    def array(self, s: Shapes, tree: Tree, caps: tuple[int, ...]) -> Array:
        """(steps,) of `seconds`."""
        if not self.by_rank:
            return self._together(s, tree, caps)
        ranks = range(s["decodes"].shape[1])
        each = [self._together({k: v[:, [r]] for k, v in s.items()}, tree, caps) for r in ranks]
        return np.asarray(np.maximum(np.max(each, axis=0), 0.0))

    def _together(self, s: Shapes, tree: Tree, caps: tuple[int, ...]) -> Array:
        if not tree.steps:
            s = _without_decodes(s)
        own = _recapped(s, caps, self.model.timer.caps)
        first = tree.tokens if self.sees_verified else 1
        total = self.model.stage_array(0, own, first, 1)
        if self.once is not None:
            total = total + self.once.stage_array(0, _headless(own), tree.tokens, 0)
        if tree.steps > 1:
            once_more = self.model.stage_array(0, _without_prompts(own, tree.topk), 1, 1)
            total = total + (tree.steps - 1) * np.where(_some(s), once_more, 0.0)
        if not tree.steps:
            total = np.where(s["prefill_tokens"].max(axis=1) > 0, total, 0.0)
        return np.asarray(total)


def _some(s: Shapes) -> Array:
    return np.asarray(s["decodes"].max(axis=1) > 0)


def _headless(s: Shapes) -> Shapes:
    return s | {"sampled": s["decodes"]}


_OF_DECODES = ("context_tokens", *(f"capped_{i + 1}" for i in range(MAX_CAPS)))


def _without_decodes(s: Shapes) -> Shapes:
    none = np.zeros_like(s["decodes"])
    return s | dict.fromkeys(("decodes", *_OF_DECODES), none) | {
        "sampled": s["sampled"] - s["decodes"]
    }  # fmt: skip


def _without_prompts(s: Shapes, branches: int) -> Shapes:
    """`branches` decodes in place of each, every one of which reads the sequence's keys."""
    none = np.zeros_like(s["decodes"])
    out = {k: none if "prefill" in k or "pairs" in k else v for k, v in s.items()}
    out |= {k: s[k] * branches for k in ("decodes", *_OF_DECODES)}
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
