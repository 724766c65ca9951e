"""What verify steps gave: written by the lanes of an engine that speculates, read when its steps
are priced by cause and when the run's tables are written."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence as Many

from sim.perf.speculation.acceptance import Tree


class Verified:
    """Of one (rank, slot), by step of the slot's clock."""

    __slots__ = ("capped", "first_steps", "members", "tokens", "trees")

    def __init__(self, caps: int, tree: Tree) -> None:
        self.members = array("i")
        """Sequences that took part."""
        self.tokens = array("i")
        """Tokens that all members got together."""
        self.capped = tuple(array("q") for _ in range(caps))
        """By cap of the model: Σ min(context, cap) of the members, the step's new token
        included."""
        self.first_steps = [0]
        self.trees = [tree]
        """Drafts of every step: those of `trees[i]` from step `first_steps[i]` on."""

    def draft(self, step: int, tree: Tree) -> None:
        """Other drafts from this step on."""
        if self.first_steps[-1] == step:
            self.first_steps.pop()
            self.trees.pop()
        if not self.trees or self.trees[-1] != tree:
            self.first_steps.append(step)
            self.trees.append(tree)

    def tree_at(self, step: int) -> Tree:
        """The drafts of a step."""
        return self.trees[bisect_right(self.first_steps, step) - 1]

    def took(self, members: int, tokens: memoryview, capped: Many[memoryview]) -> None:
        """Steps of so many members have ended that gave so many tokens each (32 bits), with so many
        capped keys (64 bits)."""
        steps = len(tokens)
        if steps == 1:
            self.members.append(members)
        else:
            self.members.extend(array("i", (members,)) * steps)
        self.tokens.frombytes(tokens.cast("B"))
        for column, mine in zip(self.capped, capped, strict=True):
            column.frombytes(mine.cast("B"))

    def took_nothing(self, steps: int) -> None:
        """Steps without members have ended."""
        for column in (self.members, self.tokens, *self.capped):
            column.frombytes(bytes(column.itemsize * steps))
