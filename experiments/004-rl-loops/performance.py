"""NeMo-RL v0.6: step times of its performance page, on policy and one step off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from beside import Paper, Row
from play import Played, Run

_DEEPSEEK, _QWEN235, _QWEN30 = Run("v06_deepseek"), Run("v06_qwen235b"), Run("v06_qwen30b")


_RACKS = "experiments/004-rl-loops/scenarios/gb200_nvl64.yaml"


def _gb200(racks: int, *changes: str) -> tuple[str, ...]:
    return (f"topology={{name: {_RACKS}, nodes: {racks}}}", *changes)


_DEEPSEEK_GB200 = (
    "rl.trainer.layout={pp: 8, dp: 16, ep: 16, stage_layers: [7, 8, 8, 8, 8, 8, 8, 6]}",
    "rl.trainer.recipe.recompute=full",
)
_QWEN235_GB200 = (
    "pools.rollout.layout.tensor.tp=8",
    "rl.trainer.layout={tp: 2, cp: 2, pp: 4, dp: 4, ep: 16, etp: 1, sequence_parallel: true, "
    "stage_layers: [23, 24, 24, 23]}",
)
_OFF = (
    "rl.cadence={asynchronous: {staleness: 1, max_age: 1}}",
    "rl.trainer.placement=apart",
    "rl.steps=6",
)

RUNS: dict[str, Run] = {
    "deepseek 256": _DEEPSEEK,
    "deepseek 512": _DEEPSEEK.but(
        "topology.nodes=64", "pools.rollout.engines=16", "rl.trainer.layout.dp=32"
    ),
    "qwen235 128": _QWEN235,
    "qwen235 256": _QWEN235.but(
        "topology.nodes=32", "pools.rollout.engines=16", "rl.trainer.layout.dp=8"
    ),
    "qwen30 32": _QWEN30,
    "deepseek 128 GB200": _DEEPSEEK.but(*_gb200(2, *_DEEPSEEK_GB200), "pools.rollout.engines=4"),
    "deepseek 256 GB200": _DEEPSEEK.but(
        *_gb200(4, *_DEEPSEEK_GB200), "pools.rollout.engines=8", "rl.trainer.layout.dp=32"
    ),
    "qwen235 64 GB200": _QWEN235.but(*_gb200(1, *_QWEN235_GB200), "pools.rollout.engines=8"),
    "qwen235 128 GB200": _QWEN235.but(
        *_gb200(2, *_QWEN235_GB200), "pools.rollout.engines=16", "rl.trainer.layout.dp=8"
    ),
    "qwen30 16 GB200": _QWEN30.but(
        *_gb200(1), "pools.rollout.layout=single", "rl.trainer.layout={dp: 16, ep: 16}"
    ),
    "qwen235 256 off": _QWEN235.but(
        "topology.nodes=32",
        "pools.rollout.layout.tensor.tp=8",
        "pools.rollout.engines=16",
        "pools.rollout.engine.gpu_memory_utilization=0.8",
        *_OFF,
        warm_up=2,
    ),
    "qwen30 32 off": _QWEN30.but(
        "pools.rollout.engines=8",
        "pools.rollout.engine.gpu_memory_utilization=0.8",
        "rl.trainer.layout={pp: 2, dp: 8, ep: 8}",
        *_OFF,
        warm_up=2,
    ),
}
QUICK = ("deepseek 256", "qwen235 128")
"""Runs that are played again by tests/validation/test_published_loops.py."""

PAGE = Paper(
    "NeMo-RL v0.6 performance",
    "systems.md B.17.4 and core-papers.md 7b: NVIDIA-NeMo/RL performance page; recipes of "
    "examples/configs/recipes/llm/performance",
    "the law's tail behind the printed mean; prompts of 150 tokens; one optimiser step a loop "
    "step; no time for data, rewards or the sampler's start",
    {
        **dict.fromkeys(
            ("v06 qwen235 128", "v06 qwen235 256", "v06 qwen30 32"),
            "all three of Qwen's are 0.61 to 0.64 of the page and scale as it does; the page has "
            "no stages, so what takes the rest (loading, padding, expert kernels of the trainer, "
            "latencies of tensor parallelism over nodes) is not known",
        ),
        **dict.fromkeys(
            ("v06 deepseek 256", "v06 deepseek 512"),
            "a third of the page, and scales as it does: 512 short samples leave most of the "
            "printed step to what is neither generation nor training; the page has no stages",
        ),
    },
)


def rows(played: Mapping[str, Played]) -> Iterator[Row]:
    """H100 beside the page, GB200 and one step off ahead of it."""
    theirs = {
        "deepseek 256": 134.0,
        "deepseek 512": 111.0,
        "qwen235 128": 395.0,
        "qwen235 256": 312.0,
        "qwen30 32": 192.0,
    }
    for name, seconds in theirs.items():
        yield PAGE.near(
            f"v06 {name}", f"{_title(name)} H100: step, s", seconds, played[name].step_s
        )
    for a, b in (("deepseek 256", "deepseek 512"), ("qwen235 128", "qwen235 256")):
        yield PAGE.near(
            f"v06 {a} scaling", f"{_title(a)} → {b.split()[-1]} H100: step ÷ step",
            theirs[a] / theirs[b], played[a].step_s / played[b].step_s,
        )  # fmt: skip
    for name, p in played.items():
        if name not in theirs:
            off = ", one step off" if name.endswith("off") else ""
            gpu = " H100" if off else ""
            what = f"{_title(name).removesuffix(' off')}{gpu}{off}: step, s"
            yield PAGE.predicted(f"v06 {name}", what, p.step_s)
    gain = played["qwen235 256"].step_s / played["qwen235 256 off"].step_s
    yield PAGE.predicted("v06 qwen235 256 gain", "Qwen3-235B, 256 H100: on policy ÷ one off", gain)
    gain = played["qwen30 32"].step_s / played["qwen30 32 off"].step_s
    yield PAGE.predicted("v06 qwen30 32 gain", "Qwen3-30B-A3B, 32 H100: on policy ÷ one off", gain)


def _title(name: str) -> str:
    model, rest = name.split(" ", 1)
    models = {"deepseek": "DeepSeek-V3", "qwen235": "Qwen3-235B", "qwen30": "Qwen3-30B-A3B"}
    return f"{models[model]}, {rest}"
