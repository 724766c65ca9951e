"""The headline numbers of a reinforcement-learning loop."""

from __future__ import annotations

from typing import Any

from sim.report.cards import Card, number, percent, seconds


def loop_cards(rl: dict[str, Any]) -> list[Card]:
    """Cards of a loop, from `rl` of the summary; only what became of its samples when it has no
    complete step."""
    if not rl["steps"]:
        return [_fates(rl["samples"])]
    return [*_time(rl), _staleness(rl["staleness"]), *_rates(rl), _fates(rl["samples"])]


def interval(rl: dict[str, Any]) -> str:
    """The mean duration of a step, with its interval where there is one."""
    sure = rl["step_s_interval"]
    if sure is None:
        return seconds(rl["step_s"]["mean"])
    return f"{seconds(sure['mean'])} ± {seconds(sure['high'] - sure['mean'])}"


def _half(rl: dict[str, Any]) -> str:
    sure = rl["step_s_interval"]
    return f"± {seconds(sure['high'] - sure['mean'])} · " if sure else ""


def _time(rl: dict[str, Any]) -> list[Card]:
    steady = rl["steady"]
    shares, rollout, trainer = steady["shares"], steady["rollout"], steady["trainer"]
    return [
        Card(
            "Step, mean",
            seconds(steady["step_s"]),
            f"{_half(rl)}{number(rl['steps'])} steps, mean of all {seconds(rl['step_s']['mean'])}",
            "From the end of one step to the end of the next, without the first steps, with the "
            "half-width of its 95 % interval.",
        ),
        Card(
            "Exposed generation",
            percent(shares["generation"]),
            f"{percent(rollout['tail_share'])} for the longest tenth",
            "Share of a step in which the trainer waits for tokens, and the part of it in which "
            "nine tenths of the step's samples are there; without the first steps.",
        ),
        Card(
            "Training",
            percent(shares["training"]),
            f"MFU {percent(trainer['mfu'])} · bubble {percent(trainer['bubble'])}",
            "Share of a step that the trainer prepares, works out log-probabilities and trains; "
            "model FLOP/s over peak, and the idle part of the busiest stage, both while it trains; "
            "without the first steps.",
        ),
        Card(
            "Rollout GPUs idle",
            percent(rollout["idle_share"]),
            f"trainer waits {percent(trainer['idle_share'])}",
            "Share of a step in which the rollouts' GPUs run nothing; work of a trainer that takes "
            "turns with them is not idleness; without the first steps.",
        ),
    ]


def _staleness(staleness: dict[str, Any]) -> Card:
    return Card(
        "Staleness, mean",
        number(staleness["mean"], 3),
        f"p99 {number(staleness['p99'], 3)} · max {number(staleness['max'])}",
        "Versions between the weights that were trained and those that made a token, over the "
        "response tokens trained on.",
    )


def _rates(rl: dict[str, Any]) -> list[Card]:
    made = rl["response_tokens_per_s_per_gpu"]
    pools = " · ".join(f"{number(v)} {name}" for name, v in made.items() if name != "all")
    return [
        Card(
            "Accepted samples/s",
            number(rl["accepted_samples_per_s"]),
            f"{number(rl['steady']['accepted_samples_per_s'])} without the first steps",
            "Samples trained on per second: the goodput of the loop.",
        ),
        Card(
            "Response tokens/s/GPU",
            number(made["all"]),
            f"per GPU of its pool: {pools}",
            "Tokens that the rollouts made per second over all GPUs of the loop, the trainer's "
            "too; beside it, per GPU of each pool of engines.",
        ),
    ]


def _fates(samples: dict[str, int]) -> Card:
    lost = [f"{number(samples[s])} {s.replace('_', ' ')}"
            for s in ("filtered", "stale", "aborted", "in_flight") if samples[s]]  # fmt: skip
    return Card(
        "Samples trained on",
        number(samples["trained"]),
        " · ".join([f"of {number(samples['generated'])}", *lost]),
        "Every sample that was begun ended in one of these ways.",
    )
