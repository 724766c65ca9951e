"""Points, tasks and prices that several chapters ask for."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim.api import run
from sim.catalog.gpu import Gpu, load_gpu
from sim.catalog.model import Model, load_model
from sim.network.topology import Topology, load_topology
from sim.perf.layouts import Layout
from sim.perf.layouts.single import Single
from sim.perf.overlaps import Overlap
from sim.perf.shape import StepShape, pairs
from sim.perf.step_timer import TableTimer
from sim.perf.task import Precision, PriceTask
from sim.perf.timers.calibrated import Calibrated
from sim.scenario.placing import wires
from sim.scenario.scenario import Scenario
from sim.search.design import design
from sim.search.point import Point
from sim.search.pricing import decode_seconds

TRTLLM = {"calibrated": {"engine_profile": "trtllm-1.3"}}
VLLM = {"calibrated": {"engine_profile": "vllm-0.24"}}
MACHINES = {
    "a100-80": "dgx_a100",
    "h100": "dgx_h100",
    "h200": "hgx_h200",
    "b200": "hgx_b200",
    "gb200": "gb200_nvl72",
}
"""Topologies by GPU."""


def task(
    model: Model | str,
    gpu: Gpu | str,
    layout: Layout | None = None,
    formats: Mapping[str, str] | None = None,
    *,
    tokens: int = 8192,
    sampled: int = 512,
    overlap: Overlap | None = None,
    all_reduce: str | None = None,
    topology: Topology | None = None,
) -> PriceTask:
    """What a timer prices, on the GPU's machine of the catalog."""
    known = load_model(model) if isinstance(model, str) else model
    device = load_gpu(gpu) if isinstance(gpu, str) else gpu
    spread = (layout or Single()).plan(known)
    machine = topology or _machine(device.name, spread.devices)
    among = wires(machine, spread, tuple(range(spread.devices)), all_reduce)
    made = Precision(**dict(formats or {})).formats(known)
    return PriceTask(known, spread, device, made, among, tokens, sampled, overlap)


@cache
def _machine(gpu: str, devices: int) -> Topology:
    name = MACHINES[gpu]
    per_node = 72 if name == "gb200_nvl72" else 8
    return load_topology(name, nodes=-(-devices // per_node))


def kernels(gpu: str, profile: str = "trtllm-1.3") -> Any:
    """The fitted kernels of a GPU in 16 bit."""
    timer = Calibrated(engine_profile=profile)
    return timer.kernels(task("llama-3.1-8b", gpu, tokens=16, sampled=16))


def prefill_shape(prompts: int, tokens: int, offset: int = 0) -> StepShape:
    """A step of so many prompt chunks of `tokens` behind `offset` tokens each."""
    return StepShape(
        prefills=prompts,
        prefill_tokens=prompts * tokens,
        prefill_pairs=prompts * pairs(offset, tokens),
        prefill_kv_tokens=prompts * (offset + tokens),
        sampled=prompts,
    )


def decode_shape(batch: int, context: int) -> StepShape:
    """A step of so many decodes that attend to `context` tokens each."""
    return StepShape(decodes=batch, context_tokens=batch * context, sampled=batch)


def decode_s(point: Point, batch: int, context: int) -> float:
    """Seconds of a step of a point's engine with `batch` sequences on every rank."""
    made = design(point)
    (pool,) = made.plan.pools
    timer: TableTimer = made.timers[pool.name]
    many = np.array([batch])
    return float(decode_seconds(timer, many, np.array([float(context)]), pool.spread.ranks)[0])


def gpu_of(**figures: object) -> Gpu:
    """A GPU that is no product: peaks and bandwidths of a paper."""
    named: dict[str, Any] = {
        "sm_count": 148,
        "l2_bytes": "126 MiB",
        "hbm_bytes": "186 GiB",
        "scale_up_bytes_per_s": "900 GB/s",
        "scale_up_domain": 72,
        "network_bytes_per_s": "50 GB/s",
        "pcie_bytes_per_s": "64 GB/s",
        "power_w": "1000 W",
    } | figures
    whole = {"name": "paper", "architecture": "blackwell"} | named
    whole["sources"] = dict.fromkeys(sorted(named), "the paper's model, or GB200")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "paper.yaml"
        path.write_text(yaml.safe_dump(whole), encoding="utf-8")
        return load_gpu(str(path))


def model_of(name: str, config: Mapping[str, object]) -> str:
    """A config.json that the catalog does not have; its path, in a folder that outlives us."""
    folder = _scratch() / name
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(dict(config)), encoding="utf-8")
    return str(path)


@cache
def _scratch() -> Path:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def played(tree: Mapping[str, object]) -> dict[str, Any]:
    """The summary of a scenario that is played to its end."""
    with tempfile.TemporaryDirectory() as folder:
        made = Scenario.of(dict(tree), (), where="published")
        return run(made, out=Path(folder) / "run").summary
