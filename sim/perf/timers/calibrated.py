"""Step times from kernels fitted to measured tables, and from an engine's host and launches.

Every product, attention, expert layer and collective is priced by a surface of `perf/surfaces/` at
figures of `perf/calibrations/` for the GPU and the engine. A GPU without tables gets the figures of
the nearest architecture and its own peaks, and the run says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from sim.catalog.gpu import gpu_names
from sim.catalog.model import MoeFfn
from sim.errors import ScenarioError, suggest
from sim.perf.calibration import calibration_folders, calibration_names
from sim.perf.compile import Compiler
from sim.perf.engine_profile import EngineProfile, load_engine_profile
from sim.perf.fitted import Shelf
from sim.perf.fitted_kernels import LEVELS, FittedKernels
from sim.perf.host import host_of
from sim.perf.price_list import HostTables
from sim.perf.reach import beyond
from sim.perf.routings import RoutingPolicy
from sim.perf.routings.uniform import Uniform
from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask
from sim.plugins import name_of, policy
from sim.settings import settings

SHOWN = (
    "step_s", "sequence_s", "layer_s", "loop_s", "sequence_loop_s", "eager_layer_s",
    "prompt_layer_s", "pass_s",
    "fused_quantisation", "all_reduce",
)  # fmt: skip
"""Figures of a profile that the prices lean on."""


@settings
class Calibrated:
    """The timer of measured kernels."""

    engine_profile: str = "vllm-0.24"
    """Whose kernels and host: a file of `perf/engine_profiles/`."""
    cuda_graphs: bool = True
    """Whether steps run as CUDA graphs, as far as the engine makes them."""
    host_speed: Annotated[float, Field(gt=0)] | None = None
    """Single-thread speed of the host, 1 = Intel Xeon 8480C; that of the GPU's usual machine when
    left out."""
    routing: Annotated[RoutingPolicy, policy("sim.perf.routings")] = Uniform()
    """How tokens spread over experts."""
    without: tuple[str, ...] = ()
    """GPUs whose tables are not used: to see how well they are predicted from others."""
    calibrations: str | None = None
    """A folder that `sim calibrate` wrote, looked into before the packaged ones."""

    def __post_init__(self) -> None:
        load_engine_profile(self.engine_profile)
        folders = calibration_folders(self.calibrations)
        measured = {name.split("/")[0] for f in folders for name in calibration_names(f)}
        known = measured | set(gpu_names())
        for gpu in self.without:
            if gpu not in known:
                near = suggest(gpu, known)
                raise ScenarioError(f"timer.calibrated.without: there is no GPU '{gpu}'{near}")

    def compile(self, task: PriceTask) -> TableTimer:
        """Tabulate every stage."""
        mean = self._timer(task, None)
        if not self.routing.epoch_steps or not _has_experts(task):
            return mean
        levels = tuple(self._timer(task, level) for level in range(LEVELS))
        return replace(mean, levels=levels, epoch_steps=self.routing.epoch_steps)

    def _timer(self, task: PriceTask, level: int | None) -> TableTimer:
        """The price list at one of the equally likely levels of expert load, or at their mean."""
        profile = load_engine_profile(self.engine_profile)
        kernels = self.kernels(task)
        kernels.level = level
        compiler = Compiler(task, kernels, profile.sampler_numbers, profile.layer_s)
        tables = compiler.stages()
        return TableTimer(caps=task.caps(), tables=tables, host=self._host(task, profile))

    def _host(self, task: PriceTask, profile: EngineProfile) -> HostTables:
        """What the host adds, at its speed."""
        sequences = np.arange(task.max_sampled + 1, dtype=np.float64)
        eager = 0.0 if self._graphs(profile) else profile.eager_layer_s
        loop = profile.loop_s + len(task.model.layers) * eager
        speed = self.host_speed or host_of(task.gpu).speed
        return HostTables(
            (profile.step_s + profile.sequence_s * sequences) / speed,
            (loop + profile.sequence_loop_s * sequences) / speed,
        )

    def kernels(self, task: PriceTask) -> FittedKernels:
        """The kernels at which steps are priced."""
        profile = load_engine_profile(self.engine_profile)
        return FittedKernels(
            gpu=task.gpu,
            shelf=self.shelf(task),
            formats=task.formats,
            hidden=task.model.hidden,
            routing=self.routing.law(),
            pass_launch_s=profile.pass_s,
            prompt_layer_s=profile.prompt_layer_s,
            fused_quantisation=profile.fused_quantisation,
        )

    def shelf(self, task: PriceTask) -> Shelf:
        """Where figures are looked for."""
        engines = load_engine_profile(self.engine_profile).kernels
        folders = calibration_folders(self.calibrations)
        return Shelf(task.gpu, engines, frozenset(self.without), folders)

    def all_reduce(self) -> str | None:
        """As the engine's profile says."""
        return load_engine_profile(self.engine_profile).all_reduce

    def _graphs(self, profile: EngineProfile) -> bool:
        return self.cuda_graphs and profile.graph_tokens > 0

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """Where every figure is from, and which shapes lie outside what was measured."""
        profile = load_engine_profile(self.engine_profile)
        rows = [
            {
                "what": f"{profile.name} {key}",
                "value": str(getattr(profile, key)),
                "source": profile.sources[key],
            }
            for key in SHOWN
        ]
        host = host_of(task.gpu)
        named = {"what": "host speed", "value": f"{host.speed} ({host.name})"}
        given = {"what": "host speed", "value": str(self.host_speed), "source": "scenario"}
        rows.append(given if self.host_speed else named | {"source": host.source})
        rows += _known_bias(profile, task) + beyond(task, self.kernels(task))
        if _has_experts(task):
            law = "assumed: real loads depend on the model and the traffic"
            rows.append({"what": "expert load", "value": name_of(self.routing), "source": law})
        return rows


def _known_bias(profile: EngineProfile, task: PriceTask) -> list[dict[str, str]]:
    """What served points say of such steps, where they do not agree with the sum of kernels."""
    narrow = [f.name for f in (task.formats.weights, task.formats.experts) if f.bits < 16]
    if not narrow or not profile.name.startswith("vllm"):
        return []
    what = f"prompts in {narrow[0]} under vLLM"
    source = "extrapolated: TTFT of served Llama-3.1-70B with prompts of 8K, docs/accuracy.md"
    return [{"what": what, "value": "0 to 30 % too quick, TP 4 on Hopper least", "source": source}]


def _has_experts(task: PriceTask) -> bool:
    return any(isinstance(x.ffn, MoeFfn) for x in task.model.layer_counts)
