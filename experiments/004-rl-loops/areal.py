"""AReaL: hours of asynchronous training beside synchronous, staleness, scaling of generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from beside import Paper, Row
from play import Played, Run

_FULL = Run("areal")
_TURNS = ("rl.cadence=synchronous", "rl.trainer.placement=colocated", "rl.steps=2")


def _part(nodes: int, prompts: int, engines: int, trainer: str) -> Run:
    """So many of the paper's nodes and as large a part of its prompts, three quarters of the GPUs
    generating: a step takes as long, and as much is in flight per GPU."""
    return _FULL.but(
        f"topology.nodes={nodes}",
        f"rl.prompts_per_step={prompts}",
        f"pools.rollout.engines={engines}",
        f"rl.trainer.layout={{{trainer}}}",
    )


def _larger(size: str, tp: int, run: Run) -> Run:
    """Another size."""
    layout = f"pools.rollout.layout={{tensor: {{tp: {tp}}}}}"
    return run.but(f"model=r1-distill-qwen-{size}", layout, "rl.steps=14", warm_up=7)


_QUARTER = _part(4, 128, 24, "dp: 8")
_7B = _larger("7b", 2, _part(12, 256, 36, "tp: 2, pp: 4, dp: 3, sequence_parallel: true"))
_14B = _larger("14b", 4, _part(8, 128, 12, "tp: 4, pp: 4, sequence_parallel: true"))
_32B = _larger("32b", 8, _part(16, 171, 12, "tp: 8, pp: 4, sequence_parallel: true"))
_STALENESS = (0, 1, 2, 4, 8)


def _stale(most: int) -> Run:
    """Steps begin to count when the samples of the first rush are used up."""
    return _QUARTER.but(
        f"rl.cadence.asynchronous.staleness={most}", f"rl.steps={7 + 2 * most}", warm_up=2 + most
    )


def _generation(gpus: int) -> Run:
    """One batch on so many GPUs."""
    return _FULL.but(
        *_TURNS, "rl.steps=1", f"topology.nodes={gpus // 8}", f"pools.rollout.engines={gpus}",
        f"rl.trainer.layout.dp={gpus}",
    )  # fmt: skip


_SCALES = (8, 16, 32, 64, 128)

RUNS: dict[str, Run] = {
    "1.5B": _stale(4),
    "1.5B in turns": _FULL.but(*_TURNS, "pools.rollout.engines=128", "rl.trainer.layout.dp=128"),
    "7B": _7B,
    "7B in turns": _7B.but(
        *_TURNS, "pools.rollout.engines=48", "rl.trainer.layout.dp=12", warm_up=0
    ),
    "14B": _14B,
    "32B": _32B,
    **{f"staleness {n}": _stale(n) for n in _STALENESS},
    "drained": _stale(4).but("rl.cadence.asynchronous.update=drain"),
    **{f"generation {n}": _generation(n) for n in _SCALES},
}
QUICK = ()
"""Runs that are played again by tests/validation/test_published_loops.py."""

PAPER = Paper(
    "AReaL",
    "systems.md B.17.2 [F]: arXiv 2505.24298; batch and bounds of inclusionAI/AReaL "
    "training/configs/async-ppo.yaml, layout of 7B as docs/references/reproduce.md has for 8B",
    "mean length 9,000 tokens and the law's tail; layouts of 1.5B, 14B and 32B; SGLang 0.5's host; "
    "a quarter (1.5B, 14B), half (7B) or third (32B) of the nodes and of the prompts",
    {
        **dict.fromkeys(
            (
                "areal 1.5B sync",
                "areal 1.5B own sync",
                "areal 1.5B async",
                "areal 1.5B gain",
                "areal 7B sync",
                "areal 7B own sync",
                "areal 7B gain",
            ),
            "hours cover more than steps, and a printed step in turns of 1.5B lasts 484 s where "
            "8,192 samples of 9,000 tokens take 114 s at the printed rate of pure generation on "
            "128 GPUs; lengths, and what else the step does, are not published",
        ),
        "areal generation 128": "the printed curve hardly rises from 64 to 128 GPUs, ours by 1.4; "
        "its batch is not known",
    },
)


def rows(played: Mapping[str, Played]) -> Iterator[Row]:
    """Hours, staleness, scaling."""
    theirs = {"1.5B": (33.6, 41.0, 14.8), "7B": (52.1, 57.7, 25.4)}
    for size, (verl, own, areal) in theirs.items():
        turns, free = (250 * played[k].step_s / 3600 for k in (f"{size} in turns", size))
        what = f"{size}, {16 if size == '1.5B' else 24} nodes of H800, 250 steps"
        yield PAPER.near(f"areal {size} sync", f"{what}, veRL in turns: hours", verl, turns)
        yield PAPER.near(f"areal {size} own sync", f"{what}, AReaL in turns: hours", own, turns)
        yield PAPER.near(f"areal {size} async", f"{what}, asynchronous: hours", areal, free)
        yield PAPER.near(f"areal {size} gain", f"{what}: veRL ÷ AReaL", verl / areal, turns / free)
    for size in ("14B", "32B"):
        yield PAPER.predicted(
            f"areal {size}", f"{size}, asynchronous: s a step", played[size].step_s
        )
    yield from _staleness(played)
    yield from _scaling(played)


def _staleness(played: Mapping[str, Played]) -> Iterator[Row]:
    rate = {n: _rate(played[f"staleness {n}"]) for n in _STALENESS}
    what = "effective training throughput"
    yield PAPER.near("areal staleness", f"{what}, η = 1 ÷ η = 0", 269.3 / 128.7, rate[1] / rate[0])
    for n in _STALENESS[2:]:
        yield PAPER.predicted(f"areal staleness {n}", f"{what}, η = {n} ÷ η = 0", rate[n] / rate[0])
    drained = _rate(played["drained"])
    yield PAPER.predicted(
        "areal interruptible", f"{what}, η = 4: interrupted ÷ drained", rate[4] / drained
    )


def _rate(p: Played) -> float:
    """Tokens trained on per second."""
    return p.tokens / p.step_s


def _scaling(played: Mapping[str, Played]) -> Iterator[Row]:
    theirs = dict(zip(_SCALES, (0.13, 0.23, 0.40, 0.62, 0.645), strict=True))
    first = played["generation 8"]["generation_s"]
    for n, rate in theirs.items():
        if n > 8:
            yield PAPER.near(
                f"areal generation {n}", f"pure generation, {n} GPUs ÷ 8 GPUs (read off a figure)",
                rate / theirs[8], first / played[f"generation {n}"]["generation_s"],
            )  # fmt: skip
