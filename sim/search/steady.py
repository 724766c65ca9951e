"""Latencies of a closed loop in its steady state, from a schedule of passes and a compiled timer.

A client's round is: ask, wait for a place and for the prompts before it, p passes that hold its
prompt, then n − 1 passes that hold it as a decode (n output tokens). With c clients on a rank, of
which at most `places` run, the passes of a round repeat: each of them carries the decodes and
what the token budget leaves for prompts, so that of the n − 1 + p passes of a round about
c · prompt ÷ (budget − c) are mixed (all of them when that is more than there are: then prompts wait
in line). `sim.search.schedule` works out which, exactly, over whole passes; with t_k the price of
pass k, T_k its end and f, l the passes of a request's first and last token, asked for at the end
of pass a:

    TTFT = T_f − T_a        TPOT = (T_l − T_f) / (n − 1)        requests/s = c / (TTFT + T_l − T_f)

the last by Little's law, as no client ever pauses. The first rounds, in which all clients begin at
once, are left out.

Clients beyond those that run change no pass, they only wait: with p places on a rank a pass is the
same for every c ≥ p (every place that is left is taken at once). So no more than `PLAYED` per place
are followed, and the others add their part of a round to everybody's TTFT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.perf.price_list import Array, HostTables, Shapes
from sim.perf.speculation.price import SpeculativeTimer
from sim.search.columns import columns, decoding, side_by_side, without_prompts
from sim.search.pricing import AnyTimer, SpeculativeStage
from sim.search.schedule import NOT_YET, Ints, Load, Rules, Schedule, play_passes
from sim.search.sparse import at_all, handed_over, priced_passes

SETTLED = 3
"""Rounds per client after which the order of prompts has settled (checked against played runs)."""
COUNTED = 2
"""Rounds that count."""
PLAYED = 2
"""Clients that are followed, for every place (of every slot)."""
CAUSES = ("linear", "attention", "experts", "collective", "host", "rank_wait")


@dataclass(frozen=True, slots=True)
class Steady:
    """One engine under its share of a closed loop. Seconds."""

    ttft_s: float
    tpot_s: float
    """NaN for answers of one token."""
    first_ttft_s: float
    """Mean TTFT of the first requests, which all come at once."""
    decodes: float
    """Sequences of the engine that a decoding one has beside it, itself counted."""
    causes: dict[str, float]
    """Seconds of `tpot_s` by cause; `prefill` is what others' prompts add, `pipeline` waiting
    between stages."""


def steady(timer: AnyTimer, loads: Sequence[Load], rules: Rules, growth: float = 1.0) -> Steady:
    """The steady state of one engine; `loads` by rank, all alike but for the number of clients.
    Ranks without a client run empty passes. With speculation a decode is a verify step, and a
    sequence grows by `growth` tokens in each. ScenarioError for steps that take no finite time."""
    most = PLAYED * rules.places * rules.slots
    played = [replace(load, clients=min(load.clients, most)) for load in loads]
    schedules = [_schedule(load, rules) for load in played if load.clients]
    longest = max(s.passes for s in schedules)
    schedules = [s if s.passes == longest else _schedule(s.load, rules, longest) for s in schedules]
    known = {id(s): columns(s, timer.caps, growth) for s in schedules}
    kept = priced_passes(list(known.values()), len(loads), rules.slots)
    priced = {key: {k: v[kept] for k, v in of.items()} for key, of in known.items()}
    idle = [None] * (len(loads) - len(schedules))
    shapes = side_by_side([*(priced[id(s)] for s in schedules), *idle])
    seconds = [at_all(kept, t.seconds(shapes)) for t in stages_of(timer)]
    ends = _ends(seconds, rules.slots)
    if not 0.0 < float(ends[-1]) < np.inf:
        raise ScenarioError(
            f"{len(ends):,} steps come to {ends[-1]} s, which is no time; look at the timer and "
            "the figures of its calibrations"
        )
    busiest = max(schedules, key=lambda s: s.load.clients)
    clients = max(load.clients for load in loads)
    return _measured(timer, busiest, clients, shapes, kept, ends)


@lru_cache(maxsize=64)
def _schedule(load: Load, rules: Rules, passes: int = 0) -> Schedule:
    return play_passes(load, rules, SETTLED + COUNTED, passes)


def stages_of(timer: AnyTimer) -> Sequence[AnyTimer | SpeculativeStage]:
    """A timer for each pipeline stage; the host adds to the first, drafting to the last."""
    if timer.stages == 1:
        return [timer]
    if isinstance(timer, SpeculativeTimer):
        return [SpeculativeStage(timer, i) for i in range(timer.stages)]
    idle = HostTables.constant(0.0, len(timer.host.exposed) - 1)
    hosts = [timer.host, *(idle for _ in timer.tables[1:])]
    return [
        replace(timer, tables=(stage,), host=host)
        for stage, host in zip(timer.tables, hosts, strict=True)
    ]


def _ends(seconds: list[Array], slots: int) -> Array:
    """End of every pass. In a pipeline a pass begins when its slot's last pass has ended, and goes
    through the stages, each of which serves the passes in order (`engine/pacer.py`)."""
    if len(seconds) == 1:
        return np.cumsum(seconds[0])
    free, out = [0.0] * len(seconds), [0.0] * (len(seconds[0]) + slots)
    for k, row in enumerate(zip(*(s.tolist() for s in seconds), strict=True)):
        ready = out[k]
        for i, once in enumerate(row):
            ready = free[i] = max(free[i], ready) + once
        out[k + slots] = ready
    return np.array(out[slots:])


def _measured(
    timer: AnyTimer, s: Schedule, clients: int, shapes: Shapes, kept: Ints, ends: Array
) -> Steady:
    """Means over the counted rounds, with `clients` on the rank of schedule `s`; `shapes` are those
    of the passes `kept`."""
    passes, c, more = len(ends), s.load.clients, s.load.output_tokens - 1
    counted = np.arange(SETTLED * c, (SETTLED + COUNTED) * c)
    last = s.last
    counted = counted[last[counted] < passes]
    asked = np.where(s.asks == NOT_YET, 0.0, ends[np.minimum(s.asks, passes - 1)])
    begun = ends[np.minimum(s.first, passes - 1)]
    ttft = float((begun - asked)[counted].mean())
    tpot, weights = np.nan, np.zeros(passes)
    if more:
        spans = ends[last[counted]] - ends[s.first[counted]]
        tpot = float(spans.mean()) / more
        weights = decoding(s, counted)[:passes] / (more * len(counted))
    weights = handed_over(kept, weights)
    round_s = ttft + (more * tpot if more else 0.0)
    return Steady(
        ttft_s=ttft + (clients - c) / c * round_s,
        tpot_s=tpot,
        first_ttft_s=_first(begun, clients, round_s / c),
        decodes=float((weights * shapes["decodes"].sum(axis=1)).sum()),
        causes=_causes(timer, shapes, weights, tpot) if more else {},
    )


def _first(begun: Array, clients: int, gap_s: float) -> float:
    """Mean TTFT of so many who ask at the start, from the first tokens of all who were followed, in
    order; those behind them follow by one every `gap_s`."""
    there = begun[:clients]
    behind = clients - len(there)
    waited = behind * float(there[-1]) + gap_s * behind * (behind + 1) / 2
    return (float(there.sum()) + waited) / clients


def _causes(
    timer: AnyTimer, shapes: Shapes, weights: NDArray[np.float64], tpot_s: float
) -> dict[str, float]:
    """`tpot_s` by cause: what the passes that count take without prompts, and what is more."""
    held = np.flatnonzero(weights)
    weights, shapes = weights[held], {k: v[held] for k, v in shapes.items()}
    alone = timer.breakdown(without_prompts(shapes))
    names = [*CAUSES, *(["draft"] if "draft_s" in alone else [])]
    out = {name: float((weights * alone[f"{name}_s"].mean(axis=1)).sum()) for name in names}
    in_stages = tpot_s if timer.stages == 1 else float((weights * timer.seconds(shapes)).sum())
    out["prefill"] = max(0.0, in_stages - sum(out.values()))
    out["pipeline"] = tpot_s - in_stages
    return out
