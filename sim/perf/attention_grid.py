"""A measured grid of attention times brought into the forms in which steps are priced.

The grid has a time for every (prompt chunk, cached tokens, decodes, context of each decode). Its
rows without a prompt give `DecodeTables` per number of decodes, those without decodes
`PrefillTables` per chunk, the others `MixedAttention`. All fits are least squares of relative
errors; between the measured numbers of decodes and tokens, seconds are joined by straight lines.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from sim.perf.layer_tables import AttentionRows, continued
from sim.perf.mixed_attention import MixedAttention
from sim.perf.price_list import DecodeTables, PrefillTables

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROUNDS = 20
"""Of the mixed law's fit: which of two works lasts longer depends on the shares that are sought.
They settle within ten."""


def decode_tables(rows: AttentionRows, upto: int) -> DecodeTables:
    """Decodes alone, 0 … `upto` of them: a flat part, then the lower of two lines."""
    alone = rows.where(rows.chunk == 0)
    numbers = np.unique(alone.decodes)
    fits = []
    for n in numbers:
        mine = alone.where(alone.decodes == n)
        fits.append(_lines(mine.context, mine.seconds))
    columns = [continued(numbers, np.array(c), upto) for c in zip(*fits, strict=True)]
    some, each = _counts(upto)
    floor, near, near_key, far, far_key = (c * some for c in columns)
    return DecodeTables(floor, near, near_key / each, far, far_key / each)


def prefill_tables(rows: AttentionRows, upto: int) -> PrefillTables:
    """A chunk alone, of 0 … `upto` tokens p: a line in the tokens before it. Its slope, spread over
    the p query-key pairs of such a token, prices every pair, those within the chunk included."""
    alone = rows.where(rows.decodes == 0)
    chunks = np.unique(alone.chunk)
    fits = []
    for p in chunks:
        mine = alone.where(alone.chunk == p)
        fits.append(_line(mine.cached, mine.seconds))
    first, slope = np.array(fits).T
    some, tokens = _counts(upto)
    within = np.minimum(tokens, chunks[-1])
    pair = np.interp(within, chunks, slope) / within
    base = np.interp(within, chunks, first) - pair * within * (within + 1) / 2
    none = np.zeros(upto + 1)
    floor = float(alone.seconds.min())
    return PrefillTables(base * some, pair * some, none, none, none, floor=floor)


def mixed_attention(
    rows: AttentionRows, prefill: PrefillTables, sequences: int, tokens: int
) -> MixedAttention | None:
    """Decodes beside a prompt, or None where that was not measured.

    What decodes take in the mixed kernel is read off the rows with the shortest chunk and nothing
    before it; the shares, and the seconds of an empty tile, are fitted to all rows.
    """
    mixed = rows.where((rows.chunk > 0) & (rows.decodes > 0))
    if not len(mixed.chunk):
        return None
    numbers, knots, grid = _beside_a_short_chunk(mixed)
    level = np.stack([continued(numbers, column, sequences) for column in grid.T], axis=1)
    slope = np.diff(level, axis=1) / np.diff(knots)
    decode = grid[np.searchsorted(numbers, mixed.decodes), np.searchsorted(knots, mixed.context)]
    decode_share, prompt_share, tile_s = _shares(mixed, decode, _alone(prefill, mixed))
    return MixedAttention(
        knots=knots,
        level=level,
        slope=np.concatenate([slope, slope[:, -1:]], axis=1),
        decode_share=np.interp(np.arange(sequences + 1), *decode_share),
        prompt_share=np.interp(np.arange(tokens + 1), *prompt_share),
        tile_s=tile_s,
    )


def _beside_a_short_chunk(mixed: AttentionRows) -> tuple[Array, Array, Array]:
    """(numbers of decodes, contexts from 0 on, seconds by both)."""
    short = mixed.where(mixed.chunk == mixed.chunk.min())
    short = short.where(short.cached == short.cached.min())
    numbers, contexts = np.unique(mixed.decodes), np.unique(mixed.context)
    grid = []
    for n in np.unique(short.decodes):
        mine = short.where(short.decodes == n)
        order = np.argsort(mine.context)
        grid.append(np.interp(contexts, mine.context[order], mine.seconds[order]))
    known = np.unique(short.decodes)
    whole = np.stack([np.interp(numbers, known, column) for column in np.array(grid).T], axis=1)
    knots = np.concatenate([[0.0], contexts])
    return numbers, knots, np.concatenate([whole[:, :1], whole], axis=1)


def _alone(prefill: PrefillTables, rows: AttentionRows) -> Array:
    """Seconds of the chunks of some rows by themselves, as the tables price them."""
    p = np.minimum(rows.chunk, len(prefill.base) - 1).astype(np.int64)
    pairs = rows.chunk * rows.cached + rows.chunk * (rows.chunk + 1) / 2
    return np.maximum(prefill.base[p] + pairs * prefill.pair[p], prefill.floor)


Shares = tuple[Array, Array]
"""(numbers, share at each of them)"""


def _shares(mixed: AttentionRows, decode: Array, prompt: Array) -> tuple[Shares, Shares, float]:
    """(of decodes by their number, of prompts by their tokens, seconds of an empty tile)."""
    numbers, of_n = np.unique(mixed.decodes, return_inverse=True)
    chunks, of_p = np.unique(mixed.chunk, return_inverse=True)
    share_n, share_p = np.ones(len(numbers)), np.ones(len(chunks))
    tiles, seconds, tile_s = mixed.decodes * mixed.chunk, mixed.seconds, 0.0
    for _ in range(ROUNDS):
        longer = prompt + share_n[of_n] * decode, decode + share_p[of_p] * prompt
        outlasted = longer[0] >= longer[1]
        tile_s = max(0.0, _ratio(tiles, seconds - np.maximum(*longer), seconds))
        rest = seconds - tiles * tile_s
        share_n = _each(share_n, of_n, outlasted, decode, rest - prompt, seconds)
        share_p = _each(share_p, of_p, ~outlasted, prompt, rest - decode, seconds)
    return (numbers, share_n), (chunks, share_p), tile_s


def _each(
    now: Array, group: NDArray[np.int64], mask: Mask, work: Array, added: Array, seconds: Array
) -> Array:
    """The share of its `work` that each group of rows adds; unchanged where no row tells."""
    mine = [mask & (group == i) for i in range(len(now))]
    fitted = [
        np.clip(_ratio(work[m], added[m], seconds[m]), 0.0, 1.0) if m.any() else old
        for m, old in zip(mine, now, strict=True)
    ]
    return np.array(fitted)


def _ratio(x: Array, y: Array, scale: Array) -> float:
    """The factor of x that is nearest to y, errors counted relative to `scale`."""
    w = 1.0 / (scale * scale)
    return float((w * x * y).sum() / (w * x * x).sum())


def _counts(upto: int) -> tuple[Array, Array]:
    """(1 where there is something, the number itself but at least 1) for 0 … `upto`."""
    whole = np.arange(upto + 1, dtype=np.float64)
    return np.where(whole > 0, 1.0, 0.0), np.maximum(whole, 1.0)


def _line(x: Array, seconds: Array) -> tuple[float, float]:
    """(seconds at 0, seconds per x), neither falling."""
    if len(x) == 1:
        return float(seconds[0]), 0.0
    slope, first = np.polyfit(x, seconds, 1, w=1.0 / seconds)
    return float(first), max(0.0, float(slope))


def _lines(x: Array, seconds: Array) -> tuple[float, float, float, float, float]:
    """(floor, near, per x, far, per x): the best cut of the points into a flat part, a steep and a
    flatter line, either of the first two perhaps without points."""
    order = np.argsort(x)
    x, seconds = x[order], seconds[order]
    floor, least = float(seconds[0]), np.inf
    best = (floor, floor, 0.0, floor, 0.0)
    for flat, cut in combinations_with_replacement(range(len(x) - 1), 2):
        far, per_far = _line(x[cut:], seconds[cut:])
        near, per_near = (far, per_far)
        if cut - flat > 1:
            near, per_near = _line(x[flat:cut], seconds[flat:cut])
        if per_near < per_far:
            continue
        level = float(seconds[:flat].mean()) if flat else min(floor, near)
        made = np.maximum(level, np.minimum(near + x * per_near, far + x * per_far))
        error = float(((made / seconds - 1.0) ** 2).sum())
        if error < least:
            best, least = (level, near, per_near, far, per_far), error
    return best
