"""What one rank of the measured expert layers was given to do, row by row of the table.

`num_tokens` counts the tokens of all expert-parallel ranks: with balanced routing, doubling
`moe_ep_size` halves the time of weights and products at the same `num_tokens`. The measured rank is
the one with most choices. Rules of the routing are those of AIConfigurator's collectors
(collector/helper.py and collector/{trtllm,vllm,sglang}/collect_moe.py, ai-dynamo/aiconfigurator).
"""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.perf.routing import PowerLaw, RankLoad
from sim.rng import Draws

Array = NDArray[np.float64]

_GROUPS, _KEPT = 8, 4
"""Group-limited routing that the collector sets for TensorRT-LLM's low-latency kernels."""
_SAMPLES, _SAMPLED_TOKENS = 6, 64


def workloads(table: pd.DataFrame, source: pd.Series[str]) -> pd.DataFrame:
    """choices, touched, largest (of the measured rank) and given (tokens that enter its layer)."""
    out = np.zeros((4, len(table)))
    keys = ["distribution", "num_experts", "topk", "moe_ep_size"]
    limited = source.str.contains("min_latency").to_numpy()
    gathered = source.str.startswith("sglang").to_numpy()
    tokens = table["num_tokens"].to_numpy(dtype=np.float64)
    groups = table.assign(limited=limited).groupby([*keys, "limited"]).indices
    for key, index in groups.items():
        law, experts, top_k, ranks, low_latency = cast("tuple[str, int, int, int, bool]", key)
        counts, back = np.unique(tokens[index], return_inverse=True)
        rule = _limited if low_latency else _plain
        load = rule(law, counts, int(experts), int(top_k), int(ranks))
        parts = (load.choices, load.touched, load.largest, load.tokens)
        out[:, index] = np.stack(parts)[:, back]
    frame = pd.DataFrame(
        out.T, columns=["choices", "touched", "largest", "given"], index=table.index
    )
    parallel = table["moe_ep_size"].to_numpy() > 1
    # SGLang's collector hands the rank those tokens that have a choice there, and its kernels
    # multiply all their choices, the masked ones too: time does not fall with ep up to top_k.
    whole = frame["given"].to_numpy() * table["topk"].to_numpy()
    frame["choices"] = np.where(gathered & parallel, whole, frame["choices"])
    frame["given"] = np.where(gathered & parallel, frame["given"], tokens)
    return frame


def _plain(law: str, tokens: Array, experts: int, top_k: int, ranks: int) -> RankLoad:
    if law == "balanced":
        return _balanced(tokens, experts, top_k, ranks)
    return PowerLaw(_exponent(law)).slowest(tokens, experts, top_k, ranks)


def _exponent(law: str) -> float:
    return float(law.rsplit("_", 1)[-1])


def _balanced(tokens: Array, experts: int, top_k: int, ranks: int) -> RankLoad:
    """`balanced_logits`: token i takes experts (i + j·⌈E/k⌉) mod E. Where k does not divide E the
    strides wrap, and the first experts, those of the measured rank, get twice the mean."""
    here = experts // ranks
    rows = []
    for count in tokens.astype(int):
        chosen, share = _balanced_choices(count, experts, top_k)
        load = np.bincount(chosen.ravel(), np.repeat(share, top_k), minlength=experts)[:here]
        reached = share[(chosen < here).any(axis=1)].sum()
        rows.append((load.sum(), (load > 0).sum(), load.max(), reached))
    return RankLoad(*np.array(rows, dtype=np.float64).T)


def _balanced_choices(count: int, experts: int, top_k: int) -> tuple[NDArray[np.int64], Array]:
    """(kinds of token, k) experts, and how many of the tokens are of each kind."""
    stride = -(-experts // top_k)
    token = np.arange(count)
    first = token % stride if count >= stride else token * stride // count
    kinds, share = np.unique(first, return_counts=True)
    chosen = (kinds[:, None] + np.arange(top_k) * stride) % experts
    return chosen, share.astype(np.float64)


def _limited(law: str, tokens: Array, experts: int, top_k: int, ranks: int) -> RankLoad:
    """Loads under group-limited routing: top_k among the 4 best of 8 groups, best by the sum of a
    group's two best, ties to the lower index. Groups of one expert have no second best, and all
    choices fall on one expert: measured times are those of t·k rows over one expert at any ep."""
    here = experts // ranks
    if experts < 2 * _GROUPS:
        one = np.ones_like(tokens)
        return RankLoad(tokens * top_k, one, tokens * top_k, tokens)
    rows = []
    for count in tokens.astype(int):
        sets = (
            [_balanced_choices(count, experts, top_k)]
            if law == "balanced"
            else [
                _power_law_choices(_exponent(law), count, experts, top_k, ranks, sample)
                for sample in range(_SAMPLES)
            ]
        )
        loads = [_kept(chosen, share, experts, top_k)[:here] for chosen, share in sets]
        stats = [(x.sum(), min((x > 0).sum(), x.sum()), x.max(), x.sum()) for x in loads]
        rows.append(np.mean(stats, axis=0))
    return RankLoad(*np.array(rows, dtype=np.float64).T)


def _kept(chosen: NDArray[np.int64], share: Array, experts: int, top_k: int) -> Array:
    """Choices of every expert after group-limited routing of tokens that want `chosen`."""
    wanted = np.zeros((len(chosen), experts))
    np.put_along_axis(wanted, chosen, 1.0, axis=1)
    groups = wanted.reshape(len(chosen), _GROUPS, -1)
    score = np.sort(groups, axis=2)[:, :, -2:].sum(axis=2)
    best = np.argsort(-score, axis=1, kind="stable")[:, :_KEPT]
    allowed = np.zeros((len(chosen), _GROUPS), dtype=bool)
    np.put_along_axis(allowed, best, values=True, axis=1)
    masked = np.where(np.repeat(allowed, experts // _GROUPS, axis=1), wanted, -1.0)
    taken = np.argsort(-masked, axis=1, kind="stable")[:, :top_k]
    loads = np.bincount(taken.ravel(), np.repeat(share, top_k), minlength=experts)
    return loads.astype(np.float64)


def _power_law_choices(
    exponent: float, count: int, experts: int, top_k: int, ranks: int, sample: int
) -> tuple[NDArray[np.int64], Array]:
    """Some of the tokens of one draw: experts in falling order of load are laid out column by
    column over (k, t), with the busiest rank's experts first."""
    low, high = (0.01, 2.0) if count * top_k <= experts else (1.0, max(0.8 * count, 1.0))
    power = 1.0 - exponent
    uniform = Draws(0, "routing").uniform(sample, np.arange(experts))
    weight = ((high**power - low**power) * uniform + low**power) ** (1.0 / power)
    load = np.minimum(np.rint(weight / weight.sum() * count * top_k), count).astype(np.int64)
    while (left := int(count * top_k - load.sum())) != 0:
        order = np.argsort(load if left > 0 else -load, kind="stable")[: abs(left)]
        load[order[load[order] < count] if left > 0 else order] += 1 if left > 0 else -1
    by_rank = load.reshape(ranks, -1)
    busiest = int(by_rank.sum(axis=1).argmax())
    by_rank[[0, busiest]] = by_rank[[busiest, 0]]
    load = by_rank.ravel()
    order = np.argsort(-load, kind="stable")
    chosen = np.repeat(order, load[order]).reshape(top_k, count).T
    picked = chosen[np.linspace(0, count - 1, min(count, _SAMPLED_TOKENS)).astype(int)]
    return picked, np.full(len(picked), count / len(picked))
