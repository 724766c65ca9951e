"""Flows: bundles share links max-min fairly, re-rated when one starts or ends.

A link is *contended* while the bundles on it could together ask for more than it has: Σ over them
of what each would get alone (or its cap). Only contended links couple bundles. A bundle that
crosses none runs at its own rate and costs no filling; a start or end on contended links marks
them, and at the close of the instant's flow events each connected component of bundles over the
marked links is filled once. One wake-up serves all ends and arrivals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Annotated, Any

from pydantic import Field

from sim.clock import ARRIVAL, FLOW
from sim.network.fabric import Bundle, FabricClock, FabricServices, check_send
from sim.network.ledger import Ledger
from sim.network.sharing import fill
from sim.settings import settings
from sim.units import Seconds

CLOSE = ARRIVAL - 1
"""Order of the filling: after all ends of this instant, and what they caused."""

NEVER = float("inf")


@settings
class Flows:
    """Max-min fair sharing of links by all bundles in flight."""

    bin_s: Annotated[Seconds, Field(gt=0.0)] = 1.0
    """Width of the time bins of the `links` table."""

    def start(self, services: FabricServices) -> _Running:
        """The running fabric."""
        capacities = [link.capacity_bytes_per_s for link in services.topology.links]
        ledger = Ledger(len(capacities), self.bin_s, services.log.links)
        return _Running(services.clock, ledger, capacities)


@dataclass(eq=False, slots=True)
class _Flow:
    number: int
    bundle: Bundle
    done: Callable[[], None]
    bound: float
    """Rate alone or cap, bytes/s of the whole bundle: it never goes faster."""
    left_bytes: float
    since_s: float
    """When `left_bytes` was true."""
    rate: float = 0.0
    end_s: float = NEVER
    sent: bool = False
    """The last byte has left; it has only to arrive."""
    visit: int = 0


@dataclass(eq=False, slots=True)
class _Running:
    clock: FabricClock
    ledger: Ledger
    capacities: list[float]
    on: list[dict[int, _Flow]] = field(init=False)
    """By link: the flows on it, by number."""
    asked: list[float] = field(init=False)
    """By link: Σ over its flows of bound ÷ members · crossings."""
    active: dict[int, _Flow] = field(default_factory=dict)
    started: int = 0
    _heap: list[tuple[float, int, _Flow]] = field(default_factory=list)
    _heap_limit: int = 1024
    _wake_at: float = NEVER
    _marked: dict[int, None] = field(default_factory=dict)
    _visits: int = 0
    fillings: int = 0
    """How many components have been filled so far (for tests and benchmarks)."""

    def __post_init__(self) -> None:
        self.on = [{} for _ in self.capacities]
        self.asked = [0.0] * len(self.capacities)

    def send(
        self,
        bundle: Bundle,
        nbytes: float,
        done: Callable[[], None],
        *,
        rate_cap_bytes_per_s: float = NEVER,
    ) -> None:
        """See `Fabric`."""
        now: float = self.clock.now
        check_send(nbytes, rate_cap_bytes_per_s, now)
        number = self.started
        self.started += 1
        alone = bundle.alone_bytes_per_s
        bound = rate_cap_bytes_per_s if rate_cap_bytes_per_s < alone else alone
        flow = _Flow(number, bundle, done, bound, nbytes, now)
        self.active[number] = flow
        self.ledger.join(bundle, now)
        level, contended = bound / bundle.members, False
        on, asked, capacities = self.on, self.asked, self.capacities
        for link, times in bundle.links:
            on[link][number] = flow
            asked[link] += level * times
            if asked[link] > capacities[link] and len(on[link]) > 1:
                contended = True
                self._mark(link)
        if not contended:
            flow.rate = bound
            self._due(flow, now + nbytes / bound)
            self._wake()

    def _mark(self, link: int) -> None:
        if not self._marked:
            event = self.clock.at(self.clock.now, CLOSE)
            event.callbacks.append(self._refill)
        self._marked[link] = None

    def _due(self, flow: _Flow, time_s: float) -> None:
        """The flow's next event, its end or its arrival, is at this time."""
        flow.end_s = time_s
        heappush(self._heap, (time_s, flow.number, flow))

    def _wake(self) -> None:
        """See to it that there is a wake-up for the next event."""
        heap = self._heap
        while heap and heap[0][2].end_s != heap[0][0]:
            heappop(heap)
        if heap and heap[0][0] < self._wake_at:
            self._wake_at = heap[0][0]
            self.clock.at(self._wake_at, FLOW).callbacks.append(self._on_time)

    def _on_time(self, _: Any) -> None:
        """Ends and arrivals that are due, in order of start. A wake-up that came too late to be
        called back (its event was re-rated away) finds nothing due."""
        now: float = self.clock.now
        if now < self._wake_at:
            return
        self._wake_at = -NEVER  # no wake-ups while these are served
        heap = self._heap
        while heap and heap[0][0] <= now:
            time_s, _number, flow = heappop(heap)
            if flow.end_s != time_s:
                continue
            if not flow.sent:
                self._finish(flow, now)
                if flow.bundle.latency_s > 0.0:
                    self._due(flow, now + flow.bundle.latency_s)
                    continue
            flow.end_s = NEVER
            flow.done()
        if self.ledger.is_large():
            self._account(now)
            self.ledger.write(now, open_bin=False)
        self._wake_at = NEVER
        self._wake()

    def _finish(self, flow: _Flow, now: float) -> None:
        """The last byte has left: free the links."""
        flow.sent = True
        number, bundle = flow.number, flow.bundle
        del self.active[number]
        self.ledger.moved(bundle, flow.since_s, now, flow.left_bytes)
        self.ledger.leave(bundle, now)
        level = flow.bound / bundle.members
        on, asked, capacities = self.on, self.asked, self.capacities
        for link, times in bundle.links:
            users = on[link]
            del users[number]
            if not users:
                asked[link] = 0.0
                continue
            if asked[link] > capacities[link]:
                self._mark(link)
            asked[link] -= level * times

    def _refill(self, _: Any) -> None:
        """New rates for every component that a marked link belongs to, or belonged to."""
        now: float = self.clock.now
        marked, self._marked = self._marked, {}
        self._visits += 1
        for link in marked:
            for flow in list(self.on[link].values()):
                if flow.visit != self._visits:
                    self._rate(self._component(flow), now)
        if len(self._heap) > self._heap_limit:
            self._heap = [entry for entry in self._heap if entry[2].end_s == entry[0]]
            heapify(self._heap)
            self._heap_limit = max(1024, 2 * len(self._heap))
        self._wake()

    def _component(self, first: _Flow) -> list[_Flow]:
        """The flows that contended links connect to this one, in order of start."""
        visit, on, asked, capacities = self._visits, self.on, self.asked, self.capacities
        first.visit = visit
        found, seen = [first], set()
        for flow in found:
            for link, _ in flow.bundle.links:
                if asked[link] <= capacities[link] or len(on[link]) == 1 or link in seen:
                    continue
                seen.add(link)
                for other in on[link].values():
                    if other.visit != visit:
                        other.visit = visit
                        found.append(other)
        found.sort(key=_number)
        return found

    def _rate(self, flows: list[_Flow], now: float) -> None:
        """Fill one component and re-time those whose rate changes."""
        if len(flows) == 1:
            rates = [flows[0].bound]
        else:
            rates = self._fill(flows)
            self.fillings += 1
        for flow, rate in zip(flows, rates, strict=True):
            if rate != flow.rate:
                self._progress(flow, now)
                flow.rate = rate
                self._due(flow, now + flow.left_bytes / rate)

    def _fill(self, flows: list[_Flow]) -> list[float]:
        local: dict[int, int] = {}
        asked, capacities, crossings = self.asked, self.capacities, []
        for flow in flows:
            mine = []
            for link, times in flow.bundle.links:
                if asked[link] > capacities[link]:
                    mine.append((local.setdefault(link, len(local)), times))
            crossings.append(mine)
        return fill(
            [flow.bundle.members for flow in flows],
            [flow.bound for flow in flows],
            crossings,
            [capacities[link] for link in local],
        )

    def _progress(self, flow: _Flow, now: float) -> None:
        """Account what the flow has moved since its bytes were last counted."""
        if now > flow.since_s:
            moved = min(flow.left_bytes, flow.rate * (now - flow.since_s))
            self.ledger.moved(flow.bundle, flow.since_s, now, moved)
            flow.left_bytes -= moved
            flow.since_s = now

    def _account(self, now_s: float) -> None:
        for flow in self.active.values():
            self._progress(flow, now_s)

    def settle(self, now_s: float) -> None:
        """See `Fabric`; writes all rows of the `links` table that are left."""
        self._account(now_s)
        self.ledger.write(now_s, open_bin=True)

    def link_bytes(self) -> dict[int, float]:
        """See `Fabric`."""
        now: float = self.clock.now
        moving = ((f.bundle, f.left_bytes, f.rate, f.since_s) for f in self.active.values())
        return self.ledger.totals(
            (bundle, min(left, rate * (now - since)))
            for bundle, left, rate, since in moving
            if now > since
        )


def _number(flow: _Flow) -> int:
    return flow.number
