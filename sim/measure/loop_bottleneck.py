"""One sentence: what bounds a reinforcement-learning loop."""

from __future__ import annotations

from typing import Any

WAITING = ("generation", "tools", "reward", "other_wait")
WORKING = ("training", "sync", "faults")

IN_LINE = 0.5
"""Share of the time in tools, or in scoring, from which on standing in line is what is told of it.
"""


def loop_bottleneck(numbers: dict[str, Any], facts: dict[str, Any]) -> str:
    """What the loop would have to do quicker, and what it costs now, in the steps behind the
    warm-up. `numbers` is `rl` of the summary, of a loop with steps; `facts` is that of run.json."""
    steady = numbers["steady"]
    shares = _shares(steady)
    name = max(_suspects(steady), key=lambda s: shares[s])
    share = f"{100.0 * shares[name]:.0f} %"
    if name == "generation":
        return f"Rollouts: {_rollouts(numbers, share)}"
    if name == "training":
        return f"Trainer: {_training(numbers, share)}"
    if name == "tools":
        return f"Tools: the trainer waits {share} of the step for tools{_tools(steady, facts)}."
    return {
        "reward": f"Reward: the trainer waits {share} of the step for rewards alone"
        f"{_scoring(steady, facts)}.",
        "sync": f"Weight sync: moving weights takes {share} of the step.",
        "faults": f"Faults: checkpoints and recovery take {share} of the step.",
        "other_wait": f"Waiting: the trainer waits {share} of the step for neither tokens nor "
        "rewards, but for weights in flight.",
    }[name]


def _shares(steady: dict[str, Any]) -> dict[str, float]:
    """Of the time of a step, with tools apart from generation; they sum to 1."""
    tools: float = steady["tools_share"]
    whole: dict[str, float] = steady["shares"]
    return whole | {"generation": whole["generation"] - tools, "tools": tools}


def _suspects(steady: dict[str, Any]) -> tuple[str, ...]:
    """Parts of the step of which the largest is to blame. Where rollouts and trainer take turns
    each delays the other; side by side, the one that waits less for the other holds it up.
    Rollouts wait for the trainer when they are idle while it works, as far as their samples are not
    with tools or rewards then."""
    if steady["takes_turns"]:
        return (*WAITING, *WORKING)
    idles = steady["rollout"]["idle_beside_work"] * (1.0 - steady["outside"]["share"])
    return WAITING if steady["trainer"]["idle_share"] > idles else WORKING


def _rollouts(numbers: dict[str, Any], share: str) -> str:
    steady, tail = numbers["steady"], numbers["response_tokens"]
    rollout = steady["rollout"]
    waits = f"the trainer waits {share} of the step for tokens"
    idle = f"their GPUs run nothing in {100.0 * rollout['idle_share']:.0f} % of the time"
    if rollout["idle_share"] < 0.005:
        idle = "their GPUs always run something"
    if rollout["tail_share"] < 0.5 * steady["shares"]["generation"]:
        return f"{waits}, {100.0 * rollout['tail_share']:.0f} % for the longest tenth; {idle}."
    return (
        f"{waits}, {100.0 * rollout['tail_share']:.0f} % for the longest tenth of the responses "
        f"alone (up to {tail['max']:,} tokens, {tail['max'] / tail['mean']:.1f} times the mean); "
        f"{idle}."
    )


def _training(numbers: dict[str, Any], share: str) -> str:
    steady = numbers["steady"]
    idle = steady["rollout"]["idle_share"]
    scoring = steady["logprob_s"] + steady["reference_s"]
    part = scoring / steady["step_s"] if steady["step_s"] else 0.0
    said = f"training takes {share} of the step ({100.0 * part:.0f} % log-probabilities)"
    if idle is None or numbers["colocated"]:
        return said + "."
    return f"{said}; the rollouts' GPUs are idle {100.0 * idle:.0f} % of the time."


def _tools(steady: dict[str, Any], facts: dict[str, Any]) -> str:
    part, who = steady["outside"]["tools_in_line"], facts.get("environment", {})
    return _line(part, "time in tools", "rl.environment", who)


def _scoring(steady: dict[str, Any], facts: dict[str, Any]) -> str:
    part, who = steady["outside"]["reward_in_line"], facts.get("reward", {})
    return _line(part, "scoring time", "rl.reward", who)


def _line(part: float, time: str, setting: str, who: dict[str, Any]) -> str:
    """How much of a time is standing in line, and for what; which of the two is worth changing."""
    places = next((name for name in ("workers", "engines") if name in who), None)
    if places is None:
        return ""
    many = f"one of {who[places]:,} {places}" if who[places] > 1 else f"the one {places[:-1]}"
    told = f"; {100.0 * part:.0f} % of its samples' {time} is waiting for {many}"
    setting = f"{setting}.{who['name']}.{places}"
    if part >= IN_LINE:
        return f"{told} ({setting})"
    return f"{told}, so that more of them ({setting}) would help less than quicker ones"
