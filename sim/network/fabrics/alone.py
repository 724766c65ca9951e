"""Alone: every bundle has its links to itself. The baseline that shows what sharing costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from sim.clock import FLOW
from sim.network.fabric import Bundle, FabricClock, FabricServices, check_send
from sim.network.ledger import Ledger
from sim.settings import settings
from sim.units import Seconds


@settings
class Alone:
    """No sharing: latency + bytes ÷ the rate that the bundle has alone."""

    bin_s: Annotated[Seconds, Field(gt=0.0)] = 1.0
    """Width of the time bins of the `links` table."""

    def start(self, services: FabricServices) -> _Running:
        """The running fabric."""
        links = len(services.topology.links)
        return _Running(services.clock, Ledger(links, self.bin_s, services.log.links))


@dataclass(eq=False, slots=True)
class _Sending:
    number: int
    bundle: Bundle
    done: Callable[[], None]
    since_s: float
    left_bytes: float
    rate: float


@dataclass(eq=False, slots=True)
class _Running:
    clock: FabricClock
    ledger: Ledger
    active: dict[int, _Sending] = field(default_factory=dict)
    started: int = 0

    def send(
        self,
        bundle: Bundle,
        nbytes: float,
        done: Callable[[], None],
        *,
        rate_cap_bytes_per_s: float = float("inf"),
    ) -> None:
        """See `Fabric`."""
        now: float = self.clock.now
        check_send(nbytes, rate_cap_bytes_per_s, now)
        rate = min(bundle.alone_bytes_per_s, rate_cap_bytes_per_s)
        number = self.started
        self.started += 1
        self.active[number] = _Sending(number, bundle, done, now, nbytes, rate)
        self.ledger.join(bundle, now)
        event = self.clock.at(now + nbytes / rate, FLOW + number, number)
        event.callbacks.append(self._end)

    def _end(self, event: Any) -> None:
        now: float = self.clock.now
        sending = self.active.pop(event.value)
        bundle = sending.bundle
        self.ledger.moved(bundle, sending.since_s, now, sending.left_bytes)
        self.ledger.leave(bundle, now)
        if self.ledger.is_large():
            self._account(now)
            self.ledger.write(now, open_bin=False)
        if bundle.latency_s > 0.0:
            arrival = self.clock.at(now + bundle.latency_s, FLOW + sending.number)
            arrival.callbacks.append(lambda _: sending.done())
        else:
            sending.done()

    def _account(self, now_s: float) -> None:
        for sending in self.active.values():
            if now_s <= sending.since_s:
                continue
            moved = min(sending.left_bytes, sending.rate * (now_s - sending.since_s))
            self.ledger.moved(sending.bundle, sending.since_s, now_s, moved)
            sending.left_bytes -= moved
            sending.since_s = now_s

    def settle(self, now_s: float) -> None:
        """See `Fabric`; writes all rows of the `links` table that are left."""
        self._account(now_s)
        self.ledger.write(now_s, open_bin=True)

    def link_bytes(self) -> dict[int, float]:
        """See `Fabric`."""
        now: float = self.clock.now
        moving = ((s.bundle, s.left_bytes, s.rate, s.since_s) for s in self.active.values())
        return self.ledger.totals(
            (bundle, min(left, rate * (now - since)))
            for bundle, left, rate, since in moving
            if now > since
        )
