"""Laminar, StreamRL and LlamaRL: orderings alone, as their set-ups are known from notes only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from beside import Paper, Row
from play import Played, Run

_EIGHTH = (
    "topology.nodes=16",
    "pools.rollout.engines=16",
    "rl.prompts_per_step=64",
    "rl.trainer.layout={tp: 8, dp: 8, sequence_parallel: true}",
)
_ASYNC = Run("laminar", (*_EIGHTH, "rl.steps=8"), warm_up=4)
RUNS: dict[str, Run] = {
    "async": _ASYNC,
    "repacked": _ASYNC.but("rl.cadence=repacking", "rl.weight_sync={by: relay, pull: true}"),
    "interrupted": _ASYNC.but("rl.cadence={asynchronous: {staleness: 4, update: interrupt}}"),
    "one off": Run("laminar", (*_EIGHTH, "rl.cadence=one_step_off", "rl.steps=4"), warm_up=1),
    "in turns": Run(
        "laminar",
        (
            *_EIGHTH,
            "rl.cadence=synchronous",
            "rl.trainer.placement=colocated",
            "pools.rollout.engines=32",
            "rl.trainer.layout={tp: 8, dp: 16, sequence_parallel: true}",
            "rl.steps=2",
        ),
    ),
}
QUICK = ("one off",)
"""Runs that are played again by tests/validation/test_published_loops.py."""

LAMINAR = Paper(
    "Laminar",
    "systems.md B.17.2 [F2, low confidence]: arXiv 2510.12633",
    "an eighth of 1,024 H800 and of the batch; Qwen2.5-32B, 512 prompts × 16, up to 16,384 tokens, "
    "mean 5,000; half of the GPUs generate",
    {
        "laminar areal": "with half of the GPUs training, which is assumed, training bounds both "
        "loops, and nothing on the engines' side can gain",
        "laminar staleness": "engines run ahead as far as the bound lets them, because training "
        "bounds the loop; groups that wait for their turn get older still",
    },
)
NOTES = "known from notes alone: set-up and tables are not at hand"


def rows(played: Mapping[str, Played]) -> Iterator[Row]:
    """Who is quicker than whom."""
    seconds = {name: played[name].step_s for name in RUNS}
    free, turns = seconds["async"], seconds["in turns"]
    what = "128 of 1,024 H800, 32B"
    yield LAMINAR.shape(
        "laminar order", f"{what}: s a step, in turns, one step off, asynchronous",
        "each quicker than the one before", (turns, seconds["one off"], free),
        free < seconds["one off"] < turns,
    )  # fmt: skip
    yield LAMINAR.near("laminar verl", f"{what}: in turns ÷ asynchronous", 2.56, turns / free)
    yield LAMINAR.near(
        "laminar one off", f"{what}: one step off ÷ asynchronous", 1.98, seconds["one off"] / free
    )
    yield LAMINAR.near(
        "laminar areal", f"{what}: interrupted ÷ asynchronous", 1.39, seconds["interrupted"] / free
    )
    yield LAMINAR.near(
        "laminar repacking", f"{what}: without ÷ with repacking", 1.26, free / seconds["repacked"]
    )
    yield LAMINAR.points(
        "laminar rollout share", f"{what}: generation in a synchronous step", 83.1,
        played["in turns"].share("generation_s"),
    )  # fmt: skip
    yield LAMINAR.shape(
        "laminar staleness", f"{what}: mean and largest staleness", "below 3, at most 4",
        (played["async"]["staleness"], played["async"]["staleness_max"]),
        played["async"]["staleness"] < 3 and played["async"]["staleness_max"] <= 4,
    )  # fmt: skip
    yield LAMINAR.missing("streamrl", "StreamRL: up to 2.66× over synchronous", "2.66", NOTES)
    yield LAMINAR.missing(
        "llamarl", "LlamaRL: 8B, 70B, 405B over synchronous", "2.52, 3.98, 10.7", NOTES
    )
    yield LAMINAR.missing(
        "hybridflow", "HybridFlow: colocated best on 16 to 64 GPUs, split or standalone on 128",
        "order", "placements of PPO's critic, reward and reference models, which a loop has not",
    )  # fmt: skip
