"""What an engine's host and launches add to its kernels, one file per engine and generation in
`perf/engine_profiles/`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import yaml

from sim.errors import ScenarioError, suggest

FOLDER = Path(__file__).parent / "engine_profiles"


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """Overheads of one engine."""

    name: str
    kernels: tuple[str, ...]
    """Calibrations in which its kernels are looked for, the best first."""
    step_s: float
    """Host time per step that no GPU work hides: scheduling, input preparation, sampling."""
    sequence_s: float
    """The same per sequence in the step."""
    layer_s: float
    """Gaps between kernels of one layer, and small kernels that the layer's work does not list."""
    loop_s: float
    """Least time of a step: the host's own loop."""
    sequence_loop_s: float
    """The same per sequence in the step."""
    eager_layer_s: float
    """The same per layer where the host launches every kernel, without CUDA graphs."""
    prompt_layer_s: float
    """Time per layer that attention spends on the host in a pass with prompts, GPU idle."""
    pass_s: float
    """Shortest elementwise kernel."""
    fused_quantisation: bool
    """Whether norms and activations write in the format of the product that follows."""
    graph_tokens: int
    """Most tokens of a step that runs as a CUDA graph; 0 = none does."""
    sampler_numbers: float
    """Numbers per vocabulary entry and sampled token that sampling moves."""
    all_reduce: str
    """Engine whose own all-reduce kernels it uses for small messages (`vllm`, `trtllm`), or `none`
    for NCCL alone."""
    sources: dict[str, str]


def engine_profile_names() -> tuple[str, ...]:
    """The engines that have a profile, sorted."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml")))


@cache
def load_engine_profile(name: str) -> EngineProfile:
    """The profile of an engine; ScenarioError, with a suggestion, on a typo."""
    known = engine_profile_names()
    if name not in known:
        raise ScenarioError(f"engine profile '{name}' is not known{suggest(name, known)}")
    table = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    sources = table["sources"]
    figures = {f.name for f in fields(EngineProfile)} - {"name", "sources"}
    missing = sorted(figures - set(table)) + sorted(figures - set(sources))
    if missing:
        raise ScenarioError(f"engine profile '{name}': '{missing[0]}' or its source is missing")
    made = {k: table[k] for k in figures} | {"kernels": tuple(table["kernels"])}
    return EngineProfile(name=name, sources=sources, **made)
