"""The answer for a design point, as values and as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sim.errors import ScenarioError
from sim.plugins import name_of
from sim.scenario.planning import Plan
from sim.search.point import MAX_NUM_SEQS, Point
from sim.search.rate_matching import Match
from sim.search.room import Room
from sim.search.speculation import Speculated

GUESSES = ("assumed", "extrapolat")
"""Words in a source that is none."""
EXTRAPOLATED = "extrapolated:"
MACHINE = "topologies/ has no machine"
DRAWN = ("gpus_per_pcie_switch", "nodes_per_rack")
"""Figures of a topology that change its drawing, and where engines are placed, but no time."""


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A pool in an answer."""

    name: str
    engines: int
    gpus_per_engine: int
    ranks: int
    layout: str
    room: Room
    running: float
    """Sequences on a rank."""

    def plain(self) -> dict[str, Any]:
        """For JSON; bytes are those of the fullest GPU."""
        r = self.room
        return {
            "engines": self.engines,
            "gpus_per_engine": self.gpus_per_engine,
            "layout": self.layout,
            "ranks": self.ranks,
            "running_per_rank": self.running,
            "sequences_that_fit_per_rank": r.kv_sequences,
            "max_num_seqs": r.max_num_seqs,
            "memory": {
                "gpu_bytes": r.gpu_bytes,
                "weight_bytes": r.weight_bytes,
                "activation_bytes": r.activation_bytes,
                "reserve_bytes": r.reserve_bytes,
                "kv_pool_bytes": r.kv_bytes,
                "kv_used_bytes": min(self.running * r.sequence_bytes, r.kv_bytes),
            },
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """The steady state of a design point. All GPUs of the deployment count."""

    point: Point
    plan: Plan
    pools: tuple[PoolUse, ...]
    ttft_s: float
    """Asking to first token, waiting included."""
    tpot_s: float
    """(last − first token) / (n − 1); NaN for answers of one token."""
    requests_per_s: float
    concurrency: int
    """Clients of the deployment."""
    bottleneck: str
    """The largest part of `breakdown`, or the pool that limits the other."""
    breakdown: dict[str, float]
    """Seconds of `tpot_s` by cause."""
    limits: tuple[str, ...] = ()
    """What keeps sequences waiting, in words."""
    first_ttft_s: float | None = None
    """Mean TTFT of the first requests, when all clients begin at once."""
    handoff_s: float | None = None
    handoff_bytes: float | None = None
    match: Match | None = None
    speculation: Speculated | None = None

    def __post_init__(self) -> None:
        """ScenarioError for what is no time: figures of kernels that one may write oneself."""
        times = {"TTFT": self.ttft_s, "requests/s": self.requests_per_s}
        if self.point.output_tokens > 1:
            times |= {"TPOT": self.tpot_s} | self.breakdown
        for name, value in times.items():
            if not math.isfinite(value):
                raise ScenarioError(
                    f"the estimate comes to {name} = {value}, which is no answer; look at the "
                    "timer and the figures of its calibrations"
                )

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return sum(p.engines * p.gpus_per_engine for p in self.pools)

    @property
    def output_tokens_per_s(self) -> float:
        """Of the deployment."""
        return self.requests_per_s * self.point.output_tokens

    @property
    def output_tokens_per_s_per_gpu(self) -> float:
        """Over all GPUs."""
        return self.output_tokens_per_s / self.gpus

    @property
    def e2e_s(self) -> float:
        """Asking to last token."""
        more = self.point.output_tokens - 1
        return self.ttft_s + (more * self.tpot_s if more else 0.0)

    @property
    def tokens_per_s_per_user(self) -> float:
        """1 / TPOT."""
        return 1.0 / self.tpot_s

    @property
    def memory_bytes(self) -> float:
        """In use on the fullest GPU."""
        return max(p.room.used_bytes(p.running) for p in self.pools)

    def assumptions(self) -> list[dict[str, str]]:
        """What is assumed or extrapolated, what weighs most first."""
        rows = self.plan.assumptions()
        sources = self.plan.topology.sources.items()
        rows += [
            {"what": f"topology {name}", "value": "", "source": text}
            for name, text in sources
            if text.startswith(EXTRAPOLATED)
        ]
        rows += routing_rows(self.plan)
        rows += lowered_rows(self.point, self.plan)
        if self.speculation is not None:
            rows += self.speculation.assumptions
        return sorted((r for r in rows if any(w in r["source"] for w in GUESSES)), key=_weight)

    def plain(self) -> dict[str, Any]:
        """As `sim estimate --json` prints it; docs/estimate.md says what everything is."""
        point = self.point
        out: dict[str, Any] = {
            "model": self.plan.pools[0].model.name,
            "gpu": self.plan.pools[0].gpu.name,
            "topology": self.plan.topology.name,
            "gpus": self.gpus,
            "isl": point.prompt_tokens,
            "osl": point.output_tokens,
            "concurrency": self.concurrency,
            "ttft_s": self.ttft_s,
            "tpot_s": self.tpot_s,
            "e2e_s": self.e2e_s,
            "tokens_per_s_per_user": self.tokens_per_s_per_user,
            "requests_per_s": self.requests_per_s,
            "output_tokens_per_s": self.output_tokens_per_s,
            "output_tokens_per_s_per_gpu": self.output_tokens_per_s_per_gpu,
            "memory_bytes": self.memory_bytes,
            "bottleneck": self.bottleneck,
            "breakdown": {f"{k}_s": v for k, v in self.breakdown.items()},
            "limits": list(self.limits),
            "pools": {p.name: p.plain() for p in self.pools},
        }
        if self.first_ttft_s is not None:
            out["first_ttft_s"] = self.first_ttft_s
        if self.handoff_s is not None:
            out["handoff"] = {"seconds": self.handoff_s, "bytes": self.handoff_bytes}
        if self.match is not None:
            out["rate_matching"] = {
                "limits": self.match.limits,
                "imbalance": self.match.imbalance,
                "requests_per_s": self.match.requests_per_s,
            }
        if self.speculation is not None:
            out["speculation"] = self.speculation.plain()
        return out | {"assumptions": self.assumptions()}

    def rates(self) -> dict[str, float]:
        """What a design is compared by."""
        names = ("ttft_s", "tpot_s", "tokens_per_s_per_user", "requests_per_s",
                 "output_tokens_per_s", "output_tokens_per_s_per_gpu")  # fmt: skip
        return {name: getattr(self, name) for name in names}


def largest(breakdown: dict[str, float]) -> str:
    """The largest part; the prompt where nothing is decoded."""
    return max(breakdown, key=lambda k: breakdown[k]) if breakdown else "prefill"


def routing_rows(plan: Plan) -> list[dict[str, str]]:
    """Routers between several engines that do not spread clients as an estimate does: evenly."""
    deployment: Any = plan.scenario.settings.deployment
    if max(len(p.devices) for p in plan.pools) == 1:
        return []
    routers = {name: getattr(deployment, name, None) for name in ("router", "decode_router")}
    return [
        {
            "what": f"deployment {name}",
            "value": name_of(router),
            "source": "assumed: clients are spread evenly over the engines, as by least_loaded",
        }
        for name, router in routers.items()
        if router is not None and name_of(router) != "least_loaded"
    ]


def lowered_rows(point: Point, plan: Plan) -> list[dict[str, str]]:
    """Sequences a rank where the token budget is below the default, and nobody says them."""
    if "max_num_seqs" in point.engine or any(".max_num_seqs" in c for c in point.changes):
        return []
    source = f"assumed: as max_num_batched_tokens, which is below the usual {MAX_NUM_SEQS:,}"
    return [
        {"what": f"{p.name} max_num_seqs", "value": str(seqs), "source": source}
        for p in plan.pools
        if (seqs := p.settings.engine.max_num_seqs) < MAX_NUM_SEQS
    ]


def _weight(row: dict[str, str]) -> int:
    """The machine first, then what is extrapolated, then what is assumed; the drawing last."""
    what, source = row["what"], row["source"]
    if MACHINE in source:
        return 0
    if what.removeprefix("topology ") in DRAWN:
        return 3
    return 1 if EXTRAPOLATED in source else 2
