"""Loads of which not every client is followed and not every pass is priced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim.errors import ScenarioError
from sim.search import schedule, sparse, steady
from sim.search.answer import Estimate
from sim.search.estimate import estimate
from sim.search.point import Point
from sim.search.sparse import at_all, handed_over

BASE = Point(
    "llama-3.1-8b", "h100", 300, 40, 100, timer="roofline",
    engine={"max_num_batched_tokens": 2048, "max_num_seqs": 8},
)  # fmt: skip


def times(found: Estimate) -> list[float]:
    return [found.ttft_s, found.tpot_s, found.requests_per_s, *found.breakdown.values()]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layout": {"tensor": {"tp": 2, "pp": 2}}},
        {"engine": dict(BASE.engine) | {"batcher": "prefill_first"}},
        {"model": "qwen3-30b-a3b", "layout": {"dp_attention": {"dp": 4}}, "concurrency": 96},
    ],
    ids=["one rank", "a pipeline", "prompts first", "ranks in lockstep"],
)
def test_whoever_does_not_run_only_waits(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = replace(BASE, **changes)
    found = estimate(point)
    monkeypatch.setattr(steady, "PLAYED", 10**9)
    everybody = estimate(point)
    assert times(found) == pytest.approx(times(everybody), rel=2e-3)
    assert found.first_ttft_s == pytest.approx(everybody.first_ttft_s, rel=0.03)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "gpt-oss-20b"])
def test_a_long_answer_costs_the_same_when_few_of_its_steps_are_priced(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = Point(model, "h100", 60, 9000, 16)
    monkeypatch.setattr(sparse, "WHOLE", 2**40)
    every = estimate(point)
    monkeypatch.setattr(sparse, "WHOLE", 0)
    assert times(estimate(point)) == pytest.approx(times(every), rel=1e-4)


def test_lines_between_priced_passes_keep_every_sum() -> None:
    kept = np.array([0, 1, 4, 10])
    values = np.array([3.0, 1.0, 4.0, 1.0])
    weights = np.arange(11.0) / 7
    whole = at_all(kept, values)
    assert whole[[2, 7]] == pytest.approx([2.0, 2.5])
    assert handed_over(kept, weights) @ values == pytest.approx(weights @ whole)


def test_a_schedule_without_end_is_refused_with_what_shortens_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedule, "MOST_CHUNKS", 1000)
    with pytest.raises(ScenarioError, match="shorter --isl or --osl"):
        estimate(replace(BASE, prompt_tokens=60_000, engine={"max_num_batched_tokens": 64}))
