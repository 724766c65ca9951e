"""One sentence: what bounds a reinforcement-learning loop."""

from __future__ import annotations

from typing import Any

WAITING = ("generation", "reward", "other_wait")
WORKING = ("training", "sync", "faults")


def loop_bottleneck(numbers: dict[str, Any]) -> str:
    """What the loop would have to do quicker, and what it costs now. `numbers` is `rl` of the
    summary, of a loop with steps."""
    shares: dict[str, float] = numbers["shares"]
    name = max(_suspects(numbers), key=lambda s: shares[s])
    share = f"{100.0 * shares[name]:.0f} %"
    if name == "generation":
        return f"Rollouts: {_rollouts(numbers, share)}"
    if name == "training":
        return f"Trainer: {_training(numbers, share)}"
    return {
        "reward": f"Reward: the trainer waits {share} of the step for rewards alone.",
        "sync": f"Weight sync: moving weights takes {share} of the step.",
        "faults": f"Faults: checkpoints and recovery take {share} of the step.",
        "other_wait": f"Waiting: the trainer waits {share} of the step for neither tokens nor "
        "rewards, but for weights in flight.",
    }[name]


def _suspects(numbers: dict[str, Any]) -> tuple[str, ...]:
    """Parts of the step of which the largest is to blame. Who takes turns on the same GPUs delays
    everybody; of two pools side by side, the one that waits less holds up the other."""
    if numbers["colocated"]:
        return (*WAITING, *WORKING)
    waits, idles = numbers["trainer"]["idle_share"], numbers["rollout"]["idle_share"]
    return WAITING if waits > idles else WORKING


def _rollouts(numbers: dict[str, Any], share: str) -> str:
    rollout, tail = numbers["rollout"], numbers["response_tokens"]
    waits = f"the trainer waits {share} of the step for tokens"
    idle = f"their GPUs run nothing in {100.0 * rollout['idle_share']:.0f} % of the time"
    if rollout["idle_share"] < 0.005:
        idle = "their GPUs always run something"
    if rollout["tail_share"] < 0.5 * numbers["shares"]["generation"]:
        return f"{waits}, {100.0 * rollout['tail_share']:.0f} % for the longest tenth; {idle}."
    return (
        f"{waits}, {100.0 * rollout['tail_share']:.0f} % for the longest tenth of the responses "
        f"alone (up to {tail['max']:,} tokens, {tail['max'] / tail['mean']:.1f} times the mean); "
        f"{idle}."
    )


def _training(numbers: dict[str, Any], share: str) -> str:
    idle = numbers["rollout"]["idle_share"]
    scoring = sum(numbers[name]["mean"] for name in ("logprob_s", "reference_s"))
    part = scoring / numbers["step_s"]["mean"] if numbers["step_s"]["mean"] else 0.0
    said = f"training takes {share} of the step ({100.0 * part:.0f} % log-probabilities)"
    if idle is None or numbers["colocated"]:
        return said + "."
    return f"{said}; the rollouts' GPUs are idle {100.0 * idle:.0f} % of the time."
