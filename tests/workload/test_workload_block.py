"""The scenario's `workload:` block: what its combinations mean, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from sim.errors import ScenarioError
from sim.workload.describe import describe
from sim.workload.request import Request, Source
from sim.workload.trace import Trace
from sim.workload.workload import Workload

ROOT = Path(__file__).parents[2]
AZURE = str(ROOT / "traces" / "sample_azure.csv")
MOONCAKE = str(ROOT / "traces" / "sample_mooncake.jsonl")
POISSON = {"poisson": {"rate_per_s": 3}}
MADE: dict[str, Any] = {
    "requests": 500,
    "arrivals": POISSON,
    "prompt_tokens": {"lognormal": {"mean_tokens": 900, "cv": 1}},
    "output_tokens": {"uniform": {"min_tokens": 1, "max_tokens": 99}},
}


def block(**settings: Any) -> Workload:
    return TypeAdapter(Workload).validate_python(settings)


def all_of(source: Source) -> list[Request]:
    return [source.take() for _ in range(source.expected)]


def lengths(requests: list[Request]) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(r.prompt_tokens, r.output_tokens, r.block_ids) for r in requests]


def test_a_trace_is_replayed_at_its_own_times() -> None:
    requests = all_of(block(path=MOONCAKE).open(0))
    trace = block(path=MOONCAKE).asks(0)
    assert [r.arrival_s for r in requests] == trace.arrival_s.tolist()
    assert requests[0].block_tokens == 512
    assert len(requests) == 400


def test_time_scale_changes_the_load_and_leaves_lengths_alone() -> None:
    plain, dense = (all_of(block(path=AZURE, time_scale=s).open(0)) for s in (1.0, 0.5))
    assert lengths(plain) == lengths(dense)
    assert [r.arrival_s / 2 for r in plain] == [r.arrival_s for r in dense]


def test_requests_takes_the_first_of_a_trace_with_their_blocks() -> None:
    assert (
        all_of(block(path=MOONCAKE, requests=7).open(0)) == all_of(block(path=MOONCAKE).open(0))[:7]
    )


def test_other_arrivals_keep_what_a_trace_asks_in_its_order() -> None:
    replayed = all_of(block(path=MOONCAKE).open(0))
    for arrivals in (POISSON, {"closed_loop": {"concurrency": 400}}, "at_once"):
        again = all_of(block(path=MOONCAKE, arrivals=arrivals).open(0))
        assert lengths(again) == lengths(replayed)
        assert [r.arrival_s for r in again] != [r.arrival_s for r in replayed]


def test_the_same_seed_makes_the_same_requests_and_another_makes_others() -> None:
    first, same, other = (all_of(block(**MADE).open(seed)) for seed in (1, 1, 2))
    assert first == same
    assert lengths(first) != lengths(other)
    assert [r.arrival_s for r in first] != [r.arrival_s for r in other]


def test_changing_one_law_leaves_the_other_draws_untouched() -> None:
    plain = all_of(block(**MADE).open(1))
    bursty = all_of(block(**MADE | {"arrivals": {"gamma": {"rate_per_s": 3, "cv": 3}}}).open(1))
    assert lengths(plain) == lengths(bursty)
    longer = all_of(block(**MADE | {"prompt_tokens": {"constant": {"tokens": 5}}}).open(1))
    assert [r.output_tokens for r in longer] == [r.output_tokens for r in plain]
    assert [r.arrival_s for r in longer] == [r.arrival_s for r in plain]
    more = all_of(block(**MADE | {"requests": 900}).open(1))
    assert more[:500] == plain


def test_pairs_of_lengths_stay_pairs_beside_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("a,b\n1,10\n2,20\n3,30\n")
    pool = {n: {"empirical": {"path": "pool.csv", "column": c}}
            for n, c in (("prompt_tokens", "a"), ("output_tokens", "b"))}  # fmt: skip
    requests = all_of(block(**MADE | pool).open(1, tmp_path))
    assert {(r.prompt_tokens, r.output_tokens) for r in requests} == {(1, 10), (2, 20), (3, 30)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "arrivals 'trace' needs a trace"),
        ({"path": AZURE, "prompt_tokens": {"constant": {"tokens": 1}}}, "prompt_tokens has no"),
        ({"path": AZURE, "output_tokens": {"constant": {"tokens": 1}}}, "output_tokens has no"),
        ({"path": AZURE, "arrivals": POISSON, "time_scale": 0.5}, r"time_scale 0\.5 has no"),
        (
            {"path": AZURE, "arrivals": {"closed_loop": {"concurrency": 1}}, "time_scale": 2},
            r"time_scale 2\.0 has no effect with arrivals 'closed_loop'",
        ),
        (MADE | {"time_scale": 0.5}, r"time_scale 0\.5 has no effect without a path"),
        (MADE | {"reader": "azure"}, "reader 'azure' has no effect"),
        (MADE | {"arrivals": "trace"}, "arrivals 'trace' needs a trace"),
        (MADE | {"requests": None}, "requests is needed"),
        (MADE | {"prompt_tokens": None}, "prompt_tokens is needed"),
        (MADE | {"output_tokens": None}, "output_tokens is needed"),
        (MADE | {"requests": 0}, "greater than or equal to 1"),
        ({"path": AZURE, "time_scale": 0}, "greater than 0"),
        ({"path": AZURE, "arrivals": "poison"}, "did you mean 'poisson'"),
        ({"path": AZURE, "speed": 2}, "speed"),
    ],
)
def test_a_setting_without_effect_or_sense_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        block(**settings)


def test_more_requests_than_a_trace_has_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"workload\.requests: 601 .* has 600"):
        block(path=AZURE, requests=601).open(0)


def test_a_block_survives_being_written_out_and_read_back() -> None:
    adapter = TypeAdapter(Workload)
    for settings in (MADE, {"path": AZURE, "reader": "azure", "time_scale": 0.25}):
        made = adapter.validate_python(settings)
        assert adapter.validate_python(adapter.dump_python(made, mode="json")) == made
    schema = adapter.json_schema()
    assert {"path", "arrivals", "time_scale"} <= set(schema["properties"])


def test_a_description_counts_rates_and_spreads() -> None:
    made = block(**MADE)
    facts = describe(made.open(4))
    trace = made.asks(4)
    assert facts["count"] == 500
    assert facts["rate_per_s"] == pytest.approx(499 / facts["span_s"])
    assert facts["prompt_tokens"]["mean"] == trace.prompt_tokens.mean()
    assert facts["output_tokens"]["p99"] == np.percentile(trace.output_tokens, 99)
    assert facts["repeating_blocks"] is None
    closed = describe(block(**MADE | {"arrivals": {"closed_loop": {"concurrency": 3}}}).open(4))
    assert closed["span_s"] is closed["rate_per_s"] is None


def test_a_trace_cannot_be_changed_once_made() -> None:
    trace = Trace(
        arrival_s=np.zeros(2), prompt_tokens=np.ones(2, int), output_tokens=np.ones(2, int)
    )
    with pytest.raises(ValueError, match="read-only"):
        trace.prompt_tokens[0] = 5
