"""Max-min fair rates by progressive filling: a pure function of who crosses which link.

All members of all bundles raise their rate (the *level*) together; a bundle stops at its own cap
or when a link that it crosses is full (Bertsekas and Gallager, Data Networks, §6.5.2). The result
is the only one where every bundle is at its cap, or has a full link on which no other bundle has a
higher level.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace

Crossings = Sequence[tuple[int, int]]
"""(link, how many members of the bundle cross it), each link once."""


def fill(
    members: Sequence[int],
    caps: Sequence[float],
    links: Sequence[Crossings],
    capacities: Sequence[float],
) -> list[float]:
    """Rates of the bundles, bytes/s of the whole bundle (members × level).

    `caps` bounds whole bundles (bytes/s, infinite where there is none), `links[b]` are the
    crossings of bundle b as indices into `capacities` (bytes/s). A bundle without links needs a
    finite cap, or its rate is infinite. The load of a link, Σ level × crossings, is at most its
    capacity up to rounding.

    A link's fair level (room ÷ crossings left) never falls while others are frozen below it, so a
    heap of levels with late updates finds the next full link in logarithmic time.
    """
    room = list(capacities)
    weight, users = _weights(links, len(room))
    tightest = [(room[k] / w, k) for k, w in enumerate(weight) if w]
    heapify(tightest)
    by_cap = sorted((cap / m, b) for b, (cap, m) in enumerate(zip(caps, members, strict=True)))
    levels = [-1.0] * len(by_cap)
    for cap, b in by_cap:
        while tightest and levels[b] < 0:
            level, link = tightest[0]
            left = weight[link]
            if not left:
                heappop(tightest)
            elif (current := room[link] / left) > level:
                heapreplace(tightest, (current, link))
            elif cap <= level:
                break
            else:
                for other in users[link]:
                    if levels[other] < 0:
                        _freeze(other, level, levels, links[other], room, weight)
        if levels[b] < 0:
            _freeze(b, cap, levels, links[b], room, weight)
    return [level * m for level, m in zip(levels, members, strict=True)]


def _weights(links: Sequence[Crossings], n: int) -> tuple[list[int], list[list[int]]]:
    """Per link: crossings of all bundles, and the bundles that cross it."""
    weight = [0] * n
    users: list[list[int]] = [[] for _ in range(n)]
    for b, crossings in enumerate(links):
        for link, times in crossings:
            weight[link] += times
            users[link].append(b)
    return weight, users


def _freeze(
    b: int,
    level: float,
    levels: list[float],
    crossings: Crossings,
    room: list[float],
    weight: list[int],
) -> None:
    levels[b] = level
    for link, times in crossings:
        left = room[link] - level * times
        room[link] = left if left > 0.0 else 0.0
        weight[link] -= times
