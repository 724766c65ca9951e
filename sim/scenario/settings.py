"""The settings tree of a scenario: what may be written in its YAML file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from sim.cluster.admissions import Admission
from sim.cluster.admissions.everyone import Everyone
from sim.cluster.deployments import Deployment
from sim.cluster.deployments.aggregated import Aggregated
from sim.cluster.frontend import Frontend
from sim.cluster.placements import Placement
from sim.cluster.placements.packed import Packed
from sim.engine.settings import EngineSettings
from sim.engine.speculations import DraftLength
from sim.engine.speculations.fixed import Fixed
from sim.network.fabric import FabricPolicy
from sim.network.fabrics.flows import Flows
from sim.perf.drafts import DraftSetting
from sim.perf.drafts.none import NoDraft
from sim.perf.layouts import Layout
from sim.perf.layouts.single import Single
from sim.perf.overlaps import Overlap
from sim.perf.overlaps.none import NoOverlap
from sim.perf.sparsities import Sparsity
from sim.perf.sparsities.none import NoSparsity
from sim.perf.task import Precision
from sim.perf.timers import Timer
from sim.perf.timers.calibrated import Calibrated
from sim.plugins import policy
from sim.record.settings import Record
from sim.rl.settings import RlSettings
from sim.settings import settings
from sim.units import NonNegativeInt, PositiveInt, Seconds
from sim.workload.arrivals.at_once import AtOnce
from sim.workload.workload import Workload

Positive = Annotated[Seconds, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


@settings
class TopologySettings:
    """The machine: a file of `topologies/`, or one of the user's."""

    name: str
    """Name of a topology, or path of a YAML file."""
    nodes: PositiveInt | None = None
    """Number of nodes (racks, for rack-scale machines); the file's own when left out."""
    oversubscription: float | None = None
    """Leaf downlink to uplink bandwidth; the file's own when left out."""


@settings
class PoolSettings:
    """Engines of one role."""

    engines: PositiveInt = 1
    """How many replicas."""
    gpu: str | None = None
    """Which of the topology's GPUs, where it has several kinds."""
    layout: Annotated[Layout, policy("sim.perf.layouts")] = Single()
    """How the model is spread over the GPUs of one engine."""
    precision: Precision = Precision()
    """Number formats."""
    timer: Annotated[Timer, policy("sim.perf.timers")] = Calibrated()
    """Where step times come from."""
    overlap: Annotated[Overlap, policy("sim.perf.overlaps")] = NoOverlap()
    """How work overlaps inside a step."""
    engine: EngineSettings = EngineSettings()
    """Limits and policies of every engine."""
    speculation: DraftSetting = NoDraft()
    """Who drafts tokens ahead of decoding; nobody when left out."""
    draft_length: Annotated[DraftLength, policy("sim.engine.speculations")] = Fixed()
    """How many tokens are drafted ahead: the draft's own `draft_tokens`, or fewer."""


@settings
class Slo:
    """What a request must keep to count as good; a limit left out is not asked for."""

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None


@settings
class Steady:
    """Requests that arrive between two shares of the span of arrivals."""

    from_share: Share = 0.2
    to_share: Share = 0.9

    def __post_init__(self) -> None:
        if self.from_share >= self.to_share:
            raise ValueError(f"from_share {self.from_share} must be below to_share {self.to_share}")


def _steady(value: object) -> object:
    return {"steady": {}} if value == "steady" else value


@settings
class SteadyWindow:
    """`window: {steady: {…}}`."""

    steady: Steady


@settings
class Measure:
    """What the summary is about."""

    window: Annotated[str | SteadyWindow, BeforeValidator(_steady)] = "all"
    """`all` (default), `steady`, or `{steady: {from_share: 0.2, to_share: 0.9}}`."""

    def __post_init__(self) -> None:
        if isinstance(self.window, str) and self.window != "all":
            raise ValueError(f"window '{self.window}' is unknown; write all or steady")

    def plain(self) -> object:
        """As `run.json` records it."""
        if isinstance(self.window, str):
            return self.window
        shares = self.window.steady
        return {"steady": {"from_share": shares.from_share, "to_share": shares.to_share}}


@settings
class Settings:
    """A scenario: a workload or a loop of rollouts and training, a model, a machine and a way of
    serving."""

    model: str
    """A model of the catalog, or the path of a Hugging Face config.json."""
    sparsity: Annotated[Sparsity, policy("sim.perf.sparsities")] = NoSparsity()
    """Which keys a decode step leaves out."""
    topology: Annotated[
        TopologySettings, BeforeValidator(_named, json_schema_input_type=TopologySettings | str)
    ]
    """The machine."""
    pools: Annotated[dict[str, PoolSettings], Field(min_length=1)]
    """Engines by role."""
    workload: Workload | None = None
    """What clients ask, and when."""
    rl: RlSettings | None = None
    """A loop of rollouts and training, in place of a workload."""
    deployment: Annotated[Deployment, policy("sim.cluster.deployments")] = Aggregated()
    """How the pools work together."""
    admission: Annotated[Admission, policy("sim.cluster.admissions")] = Everyone()
    """Who is let in."""
    frontend: Frontend = Frontend()
    """What servers in front of the engines add."""
    placement: Annotated[Placement, policy("sim.cluster.placements")] = Packed()
    """Which GPUs an engine gets."""
    fabric: Annotated[FabricPolicy, policy("sim.network.fabrics")] = Flows()
    """How transfers share links."""
    slo: Slo = Slo()
    """What counts as good."""
    measure: Measure = Measure()
    """What is measured."""
    record: Record = Record()
    """How much is written down."""
    name: str = "run"
    """Name of the scenario, also of its run folders; the file's when left out."""
    description: str = ""
    """What it asks, for readers."""
    seed: NonNegativeInt = 0
    """All randomness follows from it."""
    until_s: Positive | None = None
    """End the run at this simulated time; what is unfinished is counted."""
    leap: bool = True
    """Price runs of alike steps at once. Changes speed, never results."""

    def __post_init__(self) -> None:
        if self.workload is None and self.rl is None:
            raise ValueError(
                "'workload' is missing; write it (what is asked, and when), or rl for a loop"
            )
        if self.rl is not None:
            self._check_loop()
        elif self.measure.window != "all" and isinstance(self.asked.arrivals, AtOnce):
            raise ValueError(
                "measure.window 'steady' needs requests that arrive over time, and arrivals is "
                "at_once; write window: all, or another law of arrivals"
            )

    @property
    def asked(self) -> Workload:
        """The workload of a scenario without a loop."""
        if self.workload is None:
            raise ValueError("this scenario has a loop and no workload")
        return self.workload

    def _check_loop(self) -> None:
        if self.workload is not None:
            raise ValueError(
                "workload and rl exclude each other: a loop asks its own prompts; leave one of "
                "them out"
            )
        if self.measure.window != "all":
            raise ValueError(
                "measure.window 'steady' is for open load, and a loop is measured by steps; leave "
                "it out"
            )


def as_plain(value: Any) -> Any:
    """A settings tree as plain mappings and lists, defaults included."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(value)).dump_python(value, mode="json")
