"""Weight syncs, played on the fabric inside a loop that does nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from beside import Paper, Row
from play import Played, Run

_RUN = Run("weight_sync")


def _sync(model: str, machine: str, trainer: str, tp: int, engines: int, *changes: str) -> Run:
    """A model, a machine of so many nodes, a trainer's layout, engines of TP `tp`."""
    name, nodes = machine.split()
    return _RUN.but(
        f"model={model}",
        f"topology={{name: {name}, nodes: {nodes}}}",
        f"pools.rollout.layout={{tensor: {{tp: {tp}}}}}",
        f"pools.rollout.engines={engines}",
        f"rl.trainer.layout={{{trainer}}}",
        f"rl.prompts_per_step={128}",
        *changes,
    )


_MOE = "rl.trainer.recipe.zero=1"
_FP8 = "rl.weight_sync={quantise: sender, bytes_per_param: 1.0}"
RUNS: dict[str, Run] = {
    "4B": _sync("qwen3-4b", "dgx_h100 2", "dp: 8", 8, 1),
    "30B": _sync("qwen3-30b-a3b", "dgx_h100 2", "dp: 8, ep: 8", 4, 2, _MOE),
    "30B FP8": _sync(
        "qwen3-30b-a3b", "dgx_h100 2", "dp: 8, ep: 8", 4, 2, _MOE, _FP8,
        "pools.rollout.precision.weights=fp8",
    ),
    "verl 7B": _sync("qwen2.5-7b", "hgx_h20 1", "dp: 4", 4, 1),
    "verl 30B": _sync("qwen3-30b-a3b", "hgx_h20 4", "dp: 16, ep: 16", 4, 4, _MOE),
    "verl 235B": _sync(
        "qwen3-235b-a22b", "hgx_h20 16", "tp: 4, pp: 2, dp: 8, ep: 16, etp: 1, "
        "sequence_parallel: true", 8, 8, _MOE,
    ),
    "deepseek": _sync(
        "deepseek-v3", "dgx_h100 64",
        "pp: 16, dp: 16, ep: 16, stage_layers: [3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 2]",
        32, 8, _MOE, "pools.rollout.precision={weights: bf16, experts: bf16}",
    ),
    "llama 70B": _sync(
        "llama-3.1-70b", "dgx_h100 32", "tp: 8, dp: 16, sequence_parallel: true", 8, 16
    ),
    "llama 405B": _sync(
        "llama-3.1-405b", "dgx_h100 64", "tp: 8, pp: 14, dp: 2, sequence_parallel: true",
        16, 8, _MOE,
    ),
}  # fmt: skip
QUICK = ("4B", "verl 7B")
"""Runs that are played again by tests/validation/test_published_loops.py."""

NEMO = Paper(
    "Weight sync, NeMo-RL",
    "systems.md B.17.3 [F]: NeMo-RL documentation, reshard over NCCL, H100; time per tensor, per "
    "quantised tensor and fixed part of `WeightSync` were fitted to these three",
    "one node trains and one generates; engines of 8 and of 4 GPUs",
)
VERL = Paper(
    "Weight sync, veRL",
    "systems.md B.17.3 [F]: veRL documentation, checkpoint engine (and before it)",
    "H20; trainer layouts; engines of 4 and 8 GPUs; shares and overheads of NeMo-RL's stack",
    {
        "sync verl 30B": "veRL gathers shards tensor by tensor and pays 230 µs for each of 18,867 "
        "tensors (830 µs before), NeMo-RL's stack 30 µs",
        "sync verl 235B": "as at 30B: the time per tensor is the stack's",
        "sync verl 7B": "0.2 s of NeMo-RL's pausing and resuming, which the printed time excludes",
    },
)
LLAMA = Paper(
    "Weight sync, LlamaRL",
    "systems.md B.17.2 [F2, low confidence]: arXiv 2505.24034, direct memory access",
    "H100, half of 256 and 512 GPUs each; NeMo-RL's overheads; before it: not modelled",
    {"sync llama 70B": "GPUs, placement and what is counted are not known to us"},
)


def rows(played: Mapping[str, Played]) -> Iterator[Row]:
    """Fitted, compared, predicted."""
    for name, low, high in (("4B", 0.21, 0.34), ("30B", 0.74, 1.00), ("30B FP8", 2.9, 4.0)):
        ours = played[name]["sync_s"]
        row = NEMO.given(f"sync {name}", f"Qwen3-{name}, H100: s", 0.5 * (low + high), ours)
        yield row
    for name, after in (("7B", 0.02), ("30B", 4.38), ("235B", 23.70)):
        ours = played[f"verl {name}"]["sync_s"]
        yield VERL.near(
            f"sync verl {name}", f"veRL {name}, with the checkpoint engine: s", after, ours
        )
    yield NEMO.predicted(
        "sync deepseek", "DeepSeek-V3 bf16, 256 + 256 H100: s", played["deepseek"]["sync_s"]
    )
    yield LLAMA.near("sync llama 70B", "Llama-70B: s", 1.15, played["llama 70B"]["sync_s"])
    yield LLAMA.near(
        "sync llama 405B", "405B ('about 2 s at terabyte scale'): s", 2.0,
        played["llama 405B"]["sync_s"],
    )  # fmt: skip
