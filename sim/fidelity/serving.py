"""Servers and loads of measurements as scenarios, worked out and played in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.fidelity.hardware import machine_with
from sim.scenario.planning import Plan, plan
from sim.scenario.scenario import Scenario
from sim.scenario.simulation import simulate

Floats = NDArray[np.float64]

POOL = "serve"
"""The pool of the engine."""


@dataclass(frozen=True, slots=True)
class Server:
    """One engine as a measurement describes it."""

    gpu: str
    """Name in the catalog."""
    model: str
    """Name in the catalog, or path of a config.json."""
    profile: str
    """Whose kernels and host: a file of `perf/engine_profiles/`."""
    tp: int = 1
    pp: int = 1
    ep: int = 1
    """Groups of the `tp` GPUs that the experts are dealt to."""
    dp: int = 1
    """Attention ranks of `tp` GPUs each, with the experts over all of them."""
    precision: Mapping[str, str] = field(default_factory=dict)
    """As `pools.NAME.precision`."""
    engine: Mapping[str, Any] = field(default_factory=dict)
    """As `pools.NAME.engine`."""
    frontend: Mapping[str, float] = field(default_factory=dict)
    """As `frontend`."""

    @property
    def devices(self) -> int:
        """GPUs of the engine."""
        return self.tp * self.pp * self.dp

    @property
    def layout(self) -> object:
        """As `pools.NAME.layout`."""
        if self.devices == 1:
            return "single"
        if self.dp > 1:
            if self.pp > 1:
                raise ScenarioError("attention ranks in pipeline stages are not simulated")
            return {"dp_attention": {"dp": self.dp, "tp": self.tp}}
        parts = {"tp": self.tp, "pp": self.pp, "ep": self.ep}
        return {"tensor": {k: v for k, v in parts.items() if v > 1 or k == "tp"}}


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds of every finished request, in order of arrival."""

    request: NDArray[np.int64]
    ttft_s: Floats
    tpot_s: Floats
    """NaN for an answer of one token."""
    e2e_s: Floats
    lost: int
    """Requests that did not finish."""


def scenario_of(
    server: Server, workload: Mapping[str, Any], overrides: Sequence[str] = ()
) -> Scenario:
    """Such a server under a load (as `workload:` of a scenario).

    It stands in the catalog's machine of that GPU, or, alone, on an ideal switch. Raises
    ScenarioError for overrides that are no settings, or that name another pool.
    """
    machine = machine_with(server.gpu, server.devices)
    tree = {
        "workload": dict(workload),
        "model": server.model,
        "frontend": dict(server.frontend),
        "topology": {"name": machine, "nodes": 1} if machine else f"./{_alone(server.gpu)}",
        "pools": {
            POOL: {
                "layout": server.layout,
                "precision": dict(server.precision),
                "timer": {"calibrated": {"engine_profile": server.profile}},
                "engine": dict(server.engine),
            }
        },
    }
    made = Scenario.of(tree, overrides, where="the scenario of a measurement")
    other = next((name for name in made.settings.pools if name != POOL), None)
    if other is not None:
        raise ScenarioError(
            f"--set pools.{other}: the only pool of a measurement is '{POOL}'; write pools.{POOL}"
        )
    return made


def work_out(server: Server, scenario: Scenario) -> Plan:
    """The plan of a scenario of `scenario_of`; ScenarioError for what cannot be served."""
    if machine_with(server.gpu, server.devices) is not None:
        return plan(scenario)
    if server.devices > 1:
        raise ScenarioError(
            f"no machine in topologies/ has {server.devices} GPUs {server.gpu}; add one for it"
        )
    group = {"gpu": server.gpu, "nodes": 1, "shape": "flat"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _alone(server.gpu)
        file.write_text(yaml.safe_dump({"summary": f"one {server.gpu}", "groups": [group]}))
        return plan(replace(scenario, base=Path(folder)))


def _alone(gpu: str) -> str:
    """The file of a machine that is one GPU."""
    return f"one_{gpu}.yaml"


def play(worked_out: Plan) -> Latencies:
    """Play it, writing nothing; latencies by the definitions of `docs/metrics.md`."""
    outcome = simulate(worked_out, None)
    if outcome.partial:
        raise KeyboardInterrupt
    table = outcome.built.log.writers["requests"].kept()
    state = np.array(table.column("state").to_pylist())
    columns = {
        name: np.array(table.column(name).to_pylist(), dtype=float)
        for name in ("request", "arrival_s", "first_token_s", "end_s", "generated_tokens")
    }
    done = np.flatnonzero(state == "finished")
    done = done[np.argsort(columns["request"][done], kind="stable")]
    c = {name: values[done] for name, values in columns.items()}
    more = c["generated_tokens"] - 1
    rest = c["end_s"] - c["first_token_s"]
    return Latencies(
        request=c["request"].astype(np.int64),
        ttft_s=c["first_token_s"] - c["arrival_s"],
        tpot_s=np.where(more > 0, rest / np.maximum(more, 1), np.nan),
        e2e_s=c["end_s"] - c["arrival_s"],
        lost=len(state) - len(done),
    )


def reason(mistake: ScenarioError) -> str:
    """Why a row cannot be simulated, alike for alike rows: sums and advice are left out."""
    text = " ".join(str(mistake).split()).removeprefix(f"pools.{POOL}: ")
    return text.split(":")[0] if "does not fit" in text else text.split(";")[0]
