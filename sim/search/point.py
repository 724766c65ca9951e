"""One design point: a model on GPUs under a closed loop, and the scenario that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.errors import ScenarioError

MAX_NUM_BATCHED_TOKENS = 8192
MAX_NUM_SEQS = 1024
"""vLLM's defaults of the API server on GPUs with 70 GiB or more (vLLM 0.24, `arg_utils.py`)."""
REACHED = {"pools", "topology", "deployment", "placement"}
"""What a change may reach; an estimate has no use for the rest of a scenario."""
MOST_CLIENTS = 1_000_000_000
FREE = 1
"""Engines that are planned where their number is to be found."""


@dataclass(frozen=True, slots=True)
class Split:
    """Prefill and decode in pools of their own."""

    prefill_layout: object
    """As `pools.prefill.layout`."""
    prefill_engines: int | None = None
    """None = as many as match the rate of the others."""
    decode_engines: int | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A design point. Settings are written as a scenario writes them."""

    model: str
    gpu: str
    prompt_tokens: int
    output_tokens: int
    concurrency: int
    """Clients of the deployment; of one decode engine where the number of those is to be found."""
    layout: object = "single"
    precision: Mapping[str, str] = field(default_factory=dict)
    timer: object = "calibrated"
    engine: Mapping[str, Any] = field(default_factory=dict)
    """As `pools.NAME.engine`; over the defaults of this module."""
    split: Split | None = None
    topology: str | None = None
    """Name or file; when left out, the catalog's machine of the GPU, or an ideal switch."""
    nodes: int | None = None
    """When left out, as many as the engines need."""
    changes: tuple[str, ...] = ()
    """`path=value`, as `sim run --set`."""
    speculation: object = None
    """Who drafts for the engines that decode: a name of `perf/drafts/`, or its settings."""

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens", "concurrency"):
            if getattr(self, name) < 1:
                raise ScenarioError(f"{name} is {getattr(self, name)}; write 1 or more")
        if self.concurrency > MOST_CLIENTS:
            raise ScenarioError(
                f"--concurrency is {self.concurrency:,}; write at most {MOST_CLIENTS:,}: whoever "
                "does not run only waits"
            )
        for change in self.changes:
            if "=" not in change:
                raise ScenarioError(
                    f"--set {change!r} is not of the form PATH=VALUE; write for example "
                    "--set pools.serve.engines=4"
                )
            head = change.split(".")[0].split("=")[0].strip()
            if head not in REACHED:
                raise ScenarioError(
                    f"--set {change!r}: an estimate has no use for '{head}'; it reaches "
                    f"{', '.join(sorted(REACHED))}, and `sim run` all of a scenario"
                )
        if self.split is not None and self.output_tokens < 2:
            raise ScenarioError(
                "output_tokens is 1 and there is nothing to decode apart; write 2 or more, or "
                "serve aggregated"
            )

    @property
    def pools(self) -> dict[str, tuple[object, int]]:
        """(layout, engines) by pool."""
        if self.split is None:
            return {"serve": (self.layout, 1)}
        s = self.split
        return {
            "prefill": (s.prefill_layout, s.prefill_engines or FREE),
            "decode": (self.layout, s.decode_engines or FREE),
        }

    def tree(self, topology: str, nodes: int | None) -> dict[str, Any]:
        """The scenario, on a machine."""
        one = {
            "arrivals": {"closed_loop": {"concurrency": self.concurrency}},
            "requests": self.concurrency,
            "prompt_tokens": {"constant": {"tokens": self.prompt_tokens}},
            "output_tokens": {"constant": {"tokens": self.output_tokens}},
        }
        tree: dict[str, Any] = {
            "name": "estimate",
            "workload": one,
            "model": self.model,
            "topology": {"name": topology, "nodes": nodes},
            "pools": {name: self._pool(*pool) for name, pool in self.pools.items()},
        }
        if self.split is not None:
            tree["deployment"] = {"disaggregated": {}}
        return tree

    def _pool(self, layout: object, engines: int) -> dict[str, Any]:
        tokens = self.engine.get("max_num_batched_tokens", MAX_NUM_BATCHED_TOKENS)
        limits = {
            "max_num_batched_tokens": tokens,
            "max_num_seqs": min(MAX_NUM_SEQS, tokens),
            "enable_prefix_caching": False,
        }
        return {
            "layout": layout,
            "engines": engines,
            "precision": dict(self.precision),
            "timer": self.timer,
            "engine": limits | dict(self.engine),
        }
