"""Bytes and busy seconds per link and bin of time: the books behind the `links` table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.network.fabric import Bundle

if TYPE_CHECKING:
    from sim.record.log import Emit

MANY_CELLS = 1 << 20
"""Cells (link × bin) in memory above which complete bins are written out."""


@dataclass(eq=False, slots=True)
class Ledger:
    """Adds up what crosses each link, in bins of `bin_s` seconds that start at 0.

    A cell is keyed `bin · links + link`, so that sorted keys are the order of the rows.
    """

    links: int
    bin_s: float
    emit: Emit
    _users: list[int] = field(init=False)
    _busy_from: list[float] = field(init=False)
    _bytes: dict[int, float] = field(init=False, default_factory=dict)
    _busy: dict[int, float] = field(init=False, default_factory=dict)
    _written: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._users = [0] * self.links
        self._busy_from = [0.0] * self.links

    def join(self, bundle: Bundle, now_s: float) -> None:
        """A bundle begins to use its links."""
        users = self._users
        for link, _ in bundle.links:
            if not users[link]:
                self._busy_from[link] = now_s
            users[link] += 1

    def leave(self, bundle: Bundle, now_s: float) -> None:
        """A bundle has sent its last byte."""
        users = self._users
        for link, _ in bundle.links:
            users[link] -= 1
            if not users[link]:
                self._add_busy(link, self._busy_from[link], now_s)

    def moved(self, bundle: Bundle, start_s: float, end_s: float, nbytes: float) -> None:
        """The bundle moved `nbytes` (all members) at a constant rate between two times."""
        share = nbytes / bundle.members
        first, last = self._bins(start_s, end_s)
        if first == last:
            self._add_bytes(bundle, first, share)
            return
        left = share
        for k in range(first, last):
            edge = (k + 1) * self.bin_s
            begin = start_s if k == first else k * self.bin_s
            part = min(left, share * ((edge - begin) / (end_s - start_s)))
            self._add_bytes(bundle, k, part)
            left -= part
        self._add_bytes(bundle, last, left)

    def is_large(self) -> bool:
        """Whether complete bins should be written out before the end."""
        return len(self._bytes) > MANY_CELLS

    def write(self, now_s: float, *, open_bin: bool) -> None:
        """Emit rows of every bin before the one of `now_s`, and that one too if `open_bin`.

        All bundles that are still moving must have been told to `moved` until now.
        """
        for link, users in enumerate(self._users):
            if users:
                self._add_busy(link, self._busy_from[link], now_s)
                self._busy_from[link] = now_s
        until = (int(now_s / self.bin_s) + (1 if open_bin else 0)) * self.links
        for key in sorted(k for k in self._bytes.keys() | self._busy.keys() if k < until):
            number, link = divmod(key, self.links)
            nbytes, busy = self._bytes.pop(key, 0.0), self._busy.pop(key, 0.0)
            self._written[link] = self._written.get(link, 0.0) + nbytes
            if nbytes or busy:
                self.emit((link, number * self.bin_s, nbytes, busy))

    def totals(self, moving: Iterable[tuple[Bundle, float]] = ()) -> dict[int, float]:
        """Bytes by link, in order of link; `moving` are bytes of bundles not yet told of."""
        total = dict(self._written)
        for key in sorted(self._bytes):
            link = key % self.links
            total[link] = total.get(link, 0.0) + self._bytes[key]
        for bundle, nbytes in moving:
            for link, times in bundle.links:
                total[link] = total.get(link, 0.0) + nbytes / bundle.members * times
        return {link: total[link] for link in sorted(total) if total[link]}

    def _bins(self, start_s: float, end_s: float) -> tuple[int, int]:
        """First and last bin that a stretch of time has a part in, whatever the division rounds
        to at a bin's edge."""
        bin_s = self.bin_s
        first, last = int(start_s / bin_s), int(end_s / bin_s)
        if (first + 1) * bin_s <= start_s:
            first += 1
        if last * bin_s >= end_s:
            last -= 1
        return first, max(first, last)

    def _add_bytes(self, bundle: Bundle, number: int, share: float) -> None:
        cells, base = self._bytes, number * self.links
        for link, times in bundle.links:
            key = base + link
            cells[key] = cells.get(key, 0.0) + share * times

    def _add_busy(self, link: int, start_s: float, end_s: float) -> None:
        first, last = self._bins(start_s, end_s)
        cells = self._busy
        for k in range(first, last + 1):
            begin = start_s if k == first else k * self.bin_s
            until = end_s if k == last else (k + 1) * self.bin_s
            if until > begin:
                key = k * self.links + link
                cells[key] = cells.get(key, 0.0) + (until - begin)
