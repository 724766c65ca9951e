"""What a law of acceptance comes to: distributions, mean lengths, trees, and draws.

All of it rests on the *survival* S_1, S_2, …: the chance that the first i drafts (of a tree: some
path of i drafts) are all accepted. With k drafts a verify step gives 1 + S_1 + … + S_k tokens, the
last of them the target's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from sim.perf.acceptances import Acceptance, Array
from sim.rng import Draws

CHUNK = 64
"""Verify steps whose runs are drawn together."""
MOST = 64
"""Longest run that is drawn: no engine drafts more."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Drafts of one verify step, in the words of SGLang's `--speculative-*`."""

    steps: int
    """Drafting passes: the longest path (`num_steps`)."""
    topk: int = 1
    """Candidates of every pass; 1 = a chain (`eagle_topk`)."""
    tokens: int = 0
    """Tokens verified, the last accepted one included (`num_draft_tokens`)."""
    confidence: float = 0.55
    """What a draft's score gives a candidate of what those before it left over, where it has
    several. Fitted with `other` to the trees of 5 steps, 3 candidates, 6 tokens of SpecForge's
    EAGLE-3 drafts (SGLang, four models): their mean error is 7 %, that of trees of 7, 4, 8 10 %."""
    other: float = 0.2
    """Chance that a second candidate is right where the first is not, and so on. Fitted with it."""

    @staticmethod
    def chain(drafts: int) -> Tree:
        """So many drafts in a row."""
        return Tree(drafts, 1, drafts + 1)


def survival(acceptance: Acceptance, drafts: int) -> Array:
    """(drafts,) chances that the first 1, 2, … drafts are all accepted."""
    return np.asarray(np.cumprod(acceptance.rates(drafts)))


def distribution(survived: Array) -> Array:
    """(drafts + 1,) chances that 0, 1, …, all drafts are accepted: S_m − S_(m+1)."""
    edges = np.concatenate([[1.0], survived, [0.0]])
    return np.asarray(edges[:-1] - edges[1:])


def acceptance_length(survived: Array) -> float:
    """Mean tokens per verify step, the target's own included."""
    return 1.0 + float(survived.sum())


def iid_length(rate: float, drafts: int) -> float:
    """The closed form of one rate: (1 − a^(k+1)) / (1 − a) (arXiv 2211.17192, equation 1)."""
    return drafts + 1.0 if rate == 1.0 else (1.0 - rate ** (drafts + 1)) / (1.0 - rate)


def parts_of(acceptance: Acceptance) -> tuple[tuple[float, Acceptance], ...]:
    """(share of requests, their law) of a law that differs between requests; else all, and it."""
    parts: tuple[tuple[float, Acceptance], ...] = getattr(acceptance, "parts", ((1.0, acceptance),))
    return parts


def behind(acceptance: Acceptance, versions: int) -> Acceptance:
    """The law with so many versions between the target and the draft."""
    lagging = getattr(acceptance, "lagging", None)
    found: Acceptance = acceptance if lagging is None else lagging(versions)
    return found


def tree_survival(acceptance: Acceptance, tree: Tree) -> Array:
    """(steps,) chances of `one_tree_survival`, of a step of any request where laws differ."""
    parts = parts_of(acceptance)
    if len(parts) == 1:
        return one_tree_survival(parts[0][1], tree)
    return np.asarray(sum(share * one_tree_survival(law, tree) for share, law in parts))


def one_tree_survival(acceptance: Acceptance, tree: Tree) -> Array:
    """(steps,) chances that some path of 1, 2, … drafts of the tree is accepted: at every depth the
    sum over its nodes of the product of chances along the path, as at most one of the candidates of
    a node is right.

    The first candidate at depth i is right with chance a_i; each further one with chance `other` of
    what those before it left over. The draft does not know a_i: it verifies the `tokens` − 1 paths
    that its own scores make likeliest (EAGLE-2, arXiv 2406.16858, section 4.2), a candidate's being
    `confidence` of what those before it left over.
    """
    if tree.topk == 1:
        whole = survival(acceptance, tree.steps)
        return np.where(np.arange(tree.steps) < tree.tokens - 1, whole, 0.0)
    rates, out = acceptance.rates(tree.steps), np.zeros(tree.steps)
    for path in tree_paths(tree):
        chance = 1.0
        for rate, rank in zip(rates, path, strict=False):
            chance *= (
                rate if rank == 0 else (1 - rate) * tree.other * (1 - tree.other) ** (rank - 1)
            )
        out[len(path) - 1] += chance
    return out


@lru_cache(maxsize=256)
def tree_paths(tree: Tree) -> tuple[tuple[int, ...], ...]:
    """The paths that are verified, as ranks of their candidates, the likeliest by the draft's own
    scores first: a path comes after the one that it prolongs."""
    waiting: list[tuple[float, int, tuple[int, ...]]] = []
    found: list[tuple[int, ...]] = []

    def candidates(path: tuple[int, ...], score: float) -> None:
        for rank in range(tree.topk):
            left = (1.0 - tree.confidence) ** rank
            heappush(waiting, (-score * tree.confidence * left, len(path), (*path, rank)))

    candidates((), 1.0)
    while waiting and len(found) < tree.tokens - 1:
        score, depth, path = heappop(waiting)
        found.append(path)
        if depth + 1 < tree.steps:
            candidates(path, -score)
    return tuple(found)


def latent_runs(survived: Array, draws: Draws, entity: int, chunk: int) -> NDArray[np.int64]:
    """(64,) drafts that would be accepted, were there as many as `survived` goes on, at verify
    steps 64 · chunk … of a request. With k drafts, min(run, k) + 1 tokens come; so k may change at
    any step without changing what the steps after it draw.

    A run is at least i with chance S_i: one uniform a step, and the number of S_i above it.
    """
    index = np.arange(chunk * CHUNK, (chunk + 1) * CHUNK)
    uniform = draws.uniform(entity, index)
    return np.asarray(np.searchsorted(-survived, -uniform, side="left"), dtype=np.int64)
