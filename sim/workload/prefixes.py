"""Prefix-block ids: that they are what they claim, and what an unlimited cache would hit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.workload.trace import Ints, Trace


def check_prefixes(trace: Trace) -> None:
    """Refuse ids that do not name the whole prefix up to the end of their block.

    An id that follows one block here and another there would be counted as a hit for tokens that
    differ. Raises ScenarioError naming both lines. O(ids), vectorised.
    """
    if trace.block_ids is None or trace.block_starts is None or not trace.block_ids.size:
        return
    flat, starts = _dense(trace.block_ids), trace.block_starts
    before = np.empty_like(flat)
    before[1:] = flat[:-1]
    before[starts[:-1][np.diff(starts) > 0]] = -1
    place = np.empty(int(flat.max()) + 1, dtype=np.int64)
    backwards = np.arange(flat.size - 1, -1, -1)
    place[flat[backwards]] = backwards  # the last write wins: where each id stands first
    wrong = before != before[place[flat]]
    if not wrong.any():
        return
    at = int(np.argmax(wrong))
    here, there = (
        int(np.searchsorted(starts, i, side="right")) - 1 for i in (at, int(place[flat[at]]))
    )
    line = trace.origin.first_line + there
    raise trace.origin.refuse(
        here,
        "block_ids",
        trace.block_ids[at],
        f"follows another block here than on line {line}; "
        "an id must name all tokens up to the end of its block, so give the two blocks two ids",
    )


def _dense(ids: Ints) -> Ints:
    """The same ids, renumbered from 0 where they are far apart (hashes)."""
    if int(ids.max()) < 4 * ids.size:
        return ids
    return np.asarray(np.unique(ids, return_inverse=True)[1], dtype=np.int64)


def prefix_hits(trace: Trace) -> NDArray[np.int64]:
    """(n,) leading prompt blocks of each request that an earlier request had, nothing forgotten.

    Ids of the answer's blocks are remembered too: a later turn of the same session hits them.
    """
    hits = np.zeros(len(trace), dtype=np.int64)
    if trace.block_ids is None or trace.block_starts is None:
        return hits
    flat, starts = trace.block_ids.tolist(), trace.block_starts.tolist()
    prompt_ends = (trace.block_starts[:-1] + prompt_blocks(trace)).tolist()
    seen: set[int] = set()
    for row, (start, end) in enumerate(zip(starts, prompt_ends, strict=False)):
        at = start
        while at < end and flat[at] in seen:
            at += 1
        hits[row] = at - start
        seen.update(flat[at : starts[row + 1]])
    return hits


def prompt_blocks(trace: Trace) -> NDArray[np.int64]:
    """(n,) how many of each request's ids name blocks of its prompt, the last one partial."""
    if trace.block_starts is None:
        return np.zeros(len(trace), dtype=np.int64)
    blocks = -(-trace.prompt_tokens // trace.block_tokens)
    return np.minimum(blocks, np.diff(trace.block_starts))
