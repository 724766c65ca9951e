"""RollPacker: shares of a synchronous step, and what tail packing and its companions gain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from beside import Paper, Row
from play import Played, Run

_7B = Run("rollpacker")
_14B = _7B.but(
    "model=qwen2.5-14b",
    "topology.nodes=4",
    "pools.rollout.engines=16",
    "pools.rollout.engine.max_model_len=18432",
    "rl.response_tokens.lognormal.max_tokens=16384",
    "rl.trainer.layout={tp: 4, dp: 8, sequence_parallel: true}",
    "rl.trainer.micro_batch_tokens=18432",
)
_32B = _14B.but(
    "model=qwen2.5-32b",
    "topology.nodes=16",
    "pools.rollout.layout.tensor.tp=4",
    "pools.rollout.engines=32",
    "rl.trainer.layout={tp: 8, dp: 16, sequence_parallel: true}",
)
_PACKED = "rl.cadence=tail_packing"

RUNS: dict[str, Run] = {
    "7B": _7B,
    "14B": _14B,
    "7B packed": _7B.but(_PACKED),
    "14B packed": _14B.but(_PACKED),
    "32B": _32B,
    "32B packed": _32B.but(_PACKED),
}
QUICK = ()
"""Runs that are played again by tests/validation/test_published_loops.py."""

PAPER = Paper(
    "RollPacker",
    "systems.md B.17.2 [F]: arXiv 2509.21009; "
    "examples/stream_trainer_table3/rlvr_config_stream_trainer_7B.yaml",
    "75 % of responses below 925 tokens, the middle of the printed 755 to 1,100, and the law's "
    "tail; 7B as 14B; layouts of 14B and 32B; the host of vLLM 0.12",
    {
        **dict.fromkeys(
            ("rollpacker rollout share", "rollpacker train share"),
            "their trainer takes one sample at a time (per_device_train_batch_size 1), ours packs "
            "samples of 900 tokens into micro-batches as long as the longest",
        ),
        "rollpacker reward share": "scoring by rule is given 0.1 s on 32 workers; theirs is not "
        "printed",
        **dict.fromkeys(
            ("rollpacker 7B packing", "rollpacker 14B packing"),
            "generation is nine tenths of our step and gets 2.1 (7B) and 2.6 (14B) times quicker; "
            "in a step with the printed shares the same gains 1.8",
        ),
    },
)


def rows(played: Mapping[str, Played]) -> Iterator[Row]:
    """Shares, gains, and what is not modelled."""
    math = played["14B"]
    what = "14B, 16K, 32 H800, math, in turns"
    train = math.share("train_s") + math.share("reference_s")
    yield PAPER.points(
        "rollpacker rollout share", f"{what}: rollout", 72, math.share("generation_s")
    )
    yield PAPER.points(
        "rollpacker reward share", f"{what}: reward", 5, math.share("exposed_reward_s")
    )
    yield PAPER.points("rollpacker train share", f"{what}: training", 23, train)
    for size, gain in (("7B", 1.30), ("14B", 1.48)):
        ratio = played[size].step_s / played[f"{size} packed"].step_s
        yield PAPER.near(f"rollpacker {size} packing", f"{size}: tail packing, gain", gain, ratio)
    quicker = math["generation_s"] / played["14B packed"]["generation_s"]
    yield PAPER.near(
        "rollpacker 14B packing at shares",
        "14B: tail packing, gain of our generation in a step with the printed shares",
        1.48,
        1.0 / (0.28 + 0.72 / quicker),
    )
    ratio = played["32B"].step_s / played["32B packed"].step_s
    yield PAPER.predicted("rollpacker 32B packing", "32B, 128 H800: tail packing, gain", ratio)
    yield PAPER.missing(
        "rollpacker rewards", "7B, 14B: + reward scheduling, cumulative gain", "2.01, 1.99",
        "the reward workers' set-up of the mixed data set is not published",
    )  # fmt: skip
