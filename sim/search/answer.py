"""The answer for a design point, as values and as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sim.scenario.planning import Plan
from sim.search.point import Point
from sim.search.rate_matching import Match
from sim.search.room import Room

GUESSES = ("assumed", "extrapolat")
"""Words in a source that is none."""


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
        """What is assumed or extrapolated."""
        rows = self.plan.assumptions()
        return [r for r in rows if any(w in r["source"] for w in GUESSES)]

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
        return out | {"assumptions": self.assumptions()}


def largest(breakdown: dict[str, float]) -> str:
    """The largest part; the prompt where nothing is decoded."""
    return max(breakdown, key=lambda k: breakdown[k]) if breakdown else "prefill"
