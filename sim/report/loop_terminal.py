"""A reinforcement-learning loop on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from sim.report.cards import number, percent, seconds
from sim.report.loop_cards import interval

FATES = ("trained", "filtered", "stale", "aborted", "in_flight")


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
    """A name, a value, and what stands beside it, a row."""
    shares, trainer, staleness = rl["shares"], rl["trainer"], rl["staleness"]
    made = rl["response_tokens_per_s_per_gpu"]
    split = ", ".join(
        f"{percent(share)} {name.replace('_', ' ')}" for name, share in shares.items() if share
    )
    gpus = rl["gpus"]
    where = "colocated" if rl["colocated"] else f"{gpus['rollout']} + {gpus['trainer']} GPUs apart"
    return [
        ("loop", number(rl["steps"]), f"steps, {rl['cadence']}, {where}"),
        ("step", interval(rl), split),
        ("generation", seconds(rl["generation_s"]["mean"]),
         f"{seconds(rl['exposed_generation_s']['mean'])} exposed; rollout GPUs idle "
         f"{percent(rl['rollout']['idle_share'])}"),
        ("training", seconds(rl["train_s"]["mean"]),
         f"MFU {percent(trainer['mfu'])}, bubble {percent(trainer['bubble'])}, waits "
         f"{percent(trainer['idle_share'])}"),
        ("staleness", number(staleness["mean"], 3), f"max {number(staleness['max'])}"),
        ("accepted samples/s", number(rl["accepted_samples_per_s"]), ""),
        ("response tokens/s/GPU", number(made["all"]),
         ", ".join(f"{number(v)} in {name}" for name, v in made.items() if name != "all")),
    ]  # fmt: skip
