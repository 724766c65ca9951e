"""A reinforcement-learning loop on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from sim.report.cards import number, percent, seconds
from sim.report.loop_cards import interval

FATES = ("trained", "filtered", "stale", "aborted", "in_flight")


TRAINING = (
    ("prepare_s", "preparing"),
    ("logprob_s", "log-probabilities"),
    ("reference_s", "reference"),
    ("train_s", "forward, backward, optimiser"),
)
"""What the share `training` is made of: column of `rl_steps`, words."""


def print_loop(rl: dict[str, Any], console: Console) -> None:
    """Print `rl` of a summary: time, shares, staleness, rates, fates, and what bounds the loop."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in _rows(rl) if rl["steps"] else ():
        table.add_row(*row)
    samples = rl["samples"]
    told = ", ".join(f"{number(samples[s])} {s.replace('_', ' ')}" for s in FATES if samples[s])
    table.add_row("samples", number(samples["generated"]), told)
    console.print(table)
    console.print(rl["bottleneck"], highlight=False)


def _rows(rl: dict[str, Any]) -> list[tuple[str, str, str]]:
    """A name, a value, and what stands beside it, a row; all of the same steps."""
    steady = rl["steady"]
    shares, trainer, staleness = steady["shares"], steady["trainer"], steady["staleness"]
    made = steady["response_tokens_per_s_per_gpu"]
    split = ", ".join(
        f"{percent(share)} {name.replace('_', ' ')}" for name, share in shares.items() if share
    )
    gpus = rl["gpus"]
    where = "colocated" if rl["colocated"] else f"{gpus['rollout']} + {gpus['trainer']} GPUs apart"
    return [
        ("loop", number(rl["steps"]), f"steps, {rl['cadence']}, {where}; {_which(steady)}"),
        ("step", interval(rl), split),
        ("generation", seconds(steady["generation_s"]),
         f"of a step's samples{_overlap(steady)}; "
         f"{seconds(steady['exposed_generation_s'])} exposed"),
        ("rollout GPUs idle", percent(steady["rollout"]["idle_share"]),
         f"trainer waits {percent(trainer['idle_share'])}"),
        *_tools(steady),
        ("training", seconds(sum(steady[column] for column, _ in TRAINING)),
         ", ".join(f"{seconds(steady[column])} {words}" for column, words in TRAINING
                   if steady[column])),
        ("MFU", percent(trainer["mfu"]), f"while it trains; bubble {percent(trainer['bubble'])}"),
        ("staleness", number(staleness["mean"], 3), f"max {number(staleness['max'])}"),
        ("accepted samples/s", number(steady["accepted_samples_per_s"]), ""),
        ("response tokens/s/GPU", number(made["all"]),
         ", ".join(f"{number(v)} in {name}" for name, v in made.items() if name != "all")),
    ]  # fmt: skip


def _which(steady: dict[str, Any]) -> str:
    """Which steps the lines below are of."""
    first = steady["from_step"]
    return f"below, means from step {first} on" if first else "below, means of all"


def _overlap(steady: dict[str, Any]) -> str:
    """Why generation may take longer than a step."""
    return ", over several steps" if steady["generation_s"] > steady["step_s"] else ""


def _tools(steady: dict[str, Any]) -> list[tuple[str, str, str]]:
    """How much of the waiting for tokens is for tools, where there are any."""
    share = steady["tools_share"]
    if not share:
        return []
    line = percent(steady["outside"]["tools_in_line"])
    told = f"of the step; {line} of tools' time is standing in line"
    return [("exposed tools", percent(share), told)]
