"""The numbers of a reinforcement-learning loop: the `rl` part of `summary.json`."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.measure.confidence import LEVEL, Interval
from sim.measure.ledger import Floats
from sim.measure.loop import STEP_PARTS, Loop
from sim.measure.loop_bottleneck import loop_bottleneck
from sim.measure.loop_invariants import sample_counts
from sim.measure.loop_outside import lives, outside, tools_part
from sim.measure.loop_turns import idle_beside_work, takes_turns
from sim.measure.quantiles import Weighted, stats
from sim.measure.spells import Spells
from sim.measure.utilisation import Activity, engine_totals
from sim.measure.window import Window

Numbers = dict[str, Any]

SECONDS = ("generation_s", "exposed_generation_s", "exposed_reward_s", *STEP_PARTS)
"""Columns of `rl_steps` with a mean and quantiles in the summary."""

SHARES = {
    "generation": ("exposed_generation_s",),
    "reward": ("exposed_reward_s",),
    "training": ("prepare_s", "logprob_s", "reference_s", "train_s"),
    "sync": ("reshard_s", "sync_s"),
    "faults": ("checkpoint_s", "recovery_s"),
}
"""What the time of a loop goes into, as its trainer sees it; the rest is other waiting."""


def rl_summary(loop: Loop, activity: Activity, speculation: Numbers | None = None) -> Numbers:
    """The loop in numbers. `speculation` is that part of the summary, where there is one."""
    samples = sample_counts(loop)
    fates = {"samples": {"generated": sum(samples.values())} | samples}
    if len(loop) == 0:
        return _what(loop) | fates | {"bottleneck": "The run ended before its first step did."}
    numbers = _what(loop) | {"step_s": stats(loop.step_s), "step_s_interval": _interval(loop)}
    numbers |= {name: stats(loop.steps[name]) for name in SECONDS}
    spells = Spells.of(activity)
    steady = _steady(loop, activity, spells)
    numbers |= {
        "steady": steady,
        "shares": _shares(loop),
        "staleness": _staleness(loop),
        "accepted_samples_per_s": _per_s(loop, loop.steps["samples"]),
        "response_tokens": _lengths(loop),
        "lives": lives(loop),
    }
    numbers |= _rates(loop, activity)
    numbers |= {"rollout": _rollout(loop, activity, spells), "trainer": _trainer(loop)}
    shares, turns = steady["shares"], steady["takes_turns"]
    numbers |= drafting_bound(shares["generation"], speculation if turns else None) | fates
    return numbers | {"bottleneck": loop_bottleneck(numbers, loop.facts)}


def _what(loop: Loop) -> Numbers:
    names = ("cadence", "colocated", "prompts_per_step", "samples_per_prompt")
    told = {name: loop.facts[name] for name in names}
    span = {"start_s": loop.start_s, "end_s": loop.end_s}
    return told | {"gpus": loop.gpus, "steps": len(loop)} | span


def _interval(loop: Loop) -> Numbers | None:
    """The mean duration of a step after the warm-up, and how sure it is."""
    found = Interval.of(loop.step_s[loop.warm_up :])
    if found is None:
        return None
    low, high = found.mean - found.half, found.mean + found.half
    return {"mean": found.mean, "low": low, "high": high, "level": LEVEL, "rule": found.rule}


def _steady(loop: Loop, activity: Activity, spells: Spells) -> Numbers:
    """Means and shares without the first steps, and what a verdict on the loop needs."""
    first = loop.warm_up
    c = {name: values[first:] for name, values in loop.steps.items()}
    rule = (
        f"steps from number {first} on: the first one is left out, and as many more as the weights "
        "are old that samples come from, at most half of all"
    )
    length = loop.end_s - float(c["start_s"][0])
    means = {name: float(c[name].mean()) for name in SECONDS}
    return {
        "from_step": first,
        "rule": rule,
        "step_s": float((c["end_s"] - c["start_s"]).mean()),
        **means,
        "accepted_samples_per_s": int(c["samples"].sum()) / length if length > 0 else None,
        "staleness": _of_tokens(c),
        "takes_turns": takes_turns(loop),
        "shares": _shares(loop, first),
        "tools_share": _tools_share(loop, first),
        "outside": outside(loop, first),
        "rollout": _rollout(loop, activity, spells, first)
        | {"idle_beside_work": idle_beside_work(loop, activity, spells, first)},
        "trainer": _trainer(loop, first),
    } | _rates(loop, activity, first)


def _of_tokens(c: dict[str, Any]) -> Numbers:
    """Mean staleness over the response tokens of some steps, and the largest."""
    tokens = float(c["response_tokens"].sum())
    lag = float((c["staleness"] * c["response_tokens"])[c["response_tokens"] > 0].sum())
    return {"mean": lag / tokens if tokens else None, "max": int(c["staleness_max"].max())}


def _shares(loop: Loop, first: int = 0) -> dict[str, float]:
    """Shares of the time of the steps from `first` on, by what the trainer does or waits for; they
    sum to 1."""
    whole = float(loop.step_s[first:].sum())
    spent = {
        name: sum(float(loop.steps[column][first:].sum()) for column in columns)
        for name, columns in SHARES.items()
    } | {"other_wait": float(loop.other_wait_s[first:].sum())}
    return {name: seconds / whole if whole > 0 else 0.0 for name, seconds in spent.items()}


def _tools_share(loop: Loop, first: int) -> float:
    """Of the time of the steps from `first` on, the part of exposed generation that tools take."""
    whole = float(loop.step_s[first:].sum())
    spent = float((loop.steps["exposed_generation_s"] * tools_part(loop))[first:].sum())
    return spent / whole if whole > 0 else 0.0


def _staleness(loop: Loop) -> Numbers:
    """Over the response tokens trained on. A sample that saw several versions counts with the mean
    of its tokens in the quantiles, and with its oldest token in `max`."""
    s, trained = loop.samples, loop.trained
    weighted = Weighted.of(s["staleness"][trained], s["response_tokens"][trained])
    oldest = s["staleness_max"][trained]
    return weighted.stats() | {"max": int(oldest.max()) if len(oldest) else None}


def _lengths(loop: Loop) -> Numbers:
    """Responses trained on. `idle_of_longest` is 1 − mean ÷ max of a step's responses, averaged
    over the steps: the share of a synchronous step in which a replica's places stand empty behind
    its longest response, were all responses to run at one speed."""
    c, some = loop.steps, loop.steps["samples"] > 0
    tokens = loop.samples["response_tokens"][loop.trained].astype(np.float64)
    mean = c["response_tokens"][some] / c["samples"][some]
    empty = 1.0 - mean / np.maximum(c["longest_tokens"][some], 1)
    return stats(tokens) | {
        "max": int(tokens.max()) if len(tokens) else None,
        "idle_of_longest": float(empty.mean()) if len(empty) else None,
    }


def _rates(loop: Loop, activity: Activity, first: int = 0) -> Numbers:
    """Tokens per second and GPU in the steps from `first` on, made (by pool, and over all GPUs) and
    trained on."""
    fleet, gpus, start = activity.fleet, loop.gpus, float(loop.steps["start_s"][first])
    made = engine_totals(activity, Window("loop", start, loop.end_s, ""))["sampled_tokens"]

    def per_s(amounts: Any, share: int = 1) -> float | None:
        return _per_s(loop, amounts, share, start)

    pools = {}
    for number, name in enumerate(fleet.pools):
        mine = fleet.pool == number
        pools[name] = per_s(made[mine], int(fleet.gpus[mine].sum()))
    used = (loop.steps["prompt_tokens"] + loop.steps["response_tokens"])[first:]
    return {
        "response_tokens_per_s": per_s(made),
        "response_tokens_per_s_per_gpu": {"all": per_s(made, gpus["total"]), **pools},
        "trained_tokens_per_s_per_gpu": per_s(used, gpus["total"]),
    }


def _per_s(loop: Loop, amounts: Any, share: int = 1, start_s: float | None = None) -> float | None:
    length = (loop.end_s - (loop.start_s if start_s is None else start_s)) * share
    return float(amounts.sum()) / length if length > 0 else None


def rollout_idle(loop: Loop, activity: Activity, spells: Spells | None = None) -> Floats:
    """Of each step, the share in which the rollouts' GPUs ran nothing; a trainer that takes turns
    with them does not leave them idle."""
    fleet = activity.fleet
    spells = spells or Spells.of(activity)
    edges = np.r_[loop.steps["start_s"][:1], loop.steps["end_s"]]
    filled = np.diff(spells.filled(edges, fleet.gpus.astype(np.float64)))
    share = filled / np.maximum(fleet.total_gpus * loop.step_s, 1e-300)
    if loop.facts["colocated"]:
        share = share + loop.at_work_s / np.maximum(loop.step_s, 1e-300)
    return np.asarray(np.where(share < 1.0 - 1e-9, np.clip(1.0 - share, 0.0, 1.0), 0.0))


def _rollout(loop: Loop, activity: Activity, spells: Spells, first: int = 0) -> Numbers:
    length = loop.step_s[first:]
    idle, whole = rollout_idle(loop, activity, spells)[first:], float(length.sum())
    return {
        "idle_share": float((idle * length).sum()) / whole if whole > 0 else None,
        "tail_share": float(tail_s(loop)[first:].sum()) / whole if whole > 0 else None,
    }


def tail_s(loop: Loop) -> Floats:
    """Of each step, the seconds in which its trainer waited for the last tenth of its samples."""
    s, c, trained = loop.samples, loop.steps, loop.trained
    step, made = s["step"][trained], s["generated_s"][trained]
    made = made[np.lexsort((made, step))]
    count = np.bincount(step, minlength=len(loop))
    last = np.cumsum(count) - 1
    most = np.maximum(last - count // 10, 0)
    some = count > 0
    tail = np.zeros(len(loop))
    since = np.maximum(made[most[some]], c["start_s"][some])
    tail[some] = np.maximum(made[last[some]] - since, 0.0)
    return np.asarray(np.minimum(tail, c["exposed_generation_s"]))


def _trainer(loop: Loop, first: int = 0) -> Numbers:
    """The trainer's time in the steps from `first` on, and what it does with it. MFU and bubble are
    means over training time."""
    c, gpus = {k: values[first:] for k, values in loop.steps.items()}, loop.gpus["trainer"]
    train = float(c["train_s"].sum())
    used = float((c["prompt_tokens"] + c["response_tokens"]).sum())
    weigh = {name: float((c[name] * c["train_s"]).sum()) for name in ("mfu", "bubble")}
    whole = float(loop.step_s[first:].sum())
    return {
        "idle_share": float(c["wait_s"].sum()) / whole if whole > 0 else None,
        "tokens_per_s_per_gpu": used / (train * gpus) if train > 0 and gpus else None,
        "mfu": weigh["mfu"] / train if train > 0 else None,
        "bubble": weigh["bubble"] / train if train > 0 else None,
    }


def drafting_bound(generation: float, speculation: Numbers | None) -> Numbers:
    """What drafting can give end to end: S ≤ 1 ÷ (R/α + 1 − R), with R the share of exposed
    generation without it and α the tokens of a verify step (arXiv 2604.26779, §3). R is worked out
    from the share with it and the speed-up s that it brought: R = R's ÷ (R's + 1 − R'). It holds
    for loops that take turns; beside training, quicker generation hides more than it shortens."""
    told: Numbers = {"generation_share_without_drafts": None, "end_to_end_bound": None}
    speculation = speculation or {}
    accepted, gain = (_mean(speculation.get(k)) for k in ("acceptance_length",
                                                          "speedup_over_plain"))  # fmt: skip
    if not accepted or not gain:
        return told
    without = generation * gain / (generation * gain + 1.0 - generation)
    bound = 1.0 / (without / accepted + 1.0 - without)
    return {"generation_share_without_drafts": without, "end_to_end_bound": bound}


def _mean(value: object) -> float | None:
    """A number of the summary, or the mean of its statistics."""
    found = value.get("mean") if isinstance(value, dict) else value
    return float(found) if isinstance(found, (int, float)) else None
