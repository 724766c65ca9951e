"""The summary of miniature runs, number by number."""

from pathlib import Path

import pytest
from miniature import Tables, aggregated, disaggregated, engine

from sim.errors import BrokenInvariant, ScenarioError
from sim.measure.summary import measure


def test_the_summary_of_an_aggregated_run_is_that_counted_by_hand(tmp_path: Path) -> None:
    run = aggregated().write(tmp_path)
    s = measure(run)
    assert s["requests"] == {
        "arrived": 3, "finished": 2, "rejected": 1, "failed": 0, "unfinished": 0,
        "cancelled": 0,
    }  # fmt: skip
    assert s["ttft_s"]["mean"] == (1.0 + 1.75) / 2
    assert s["tpot_s"]["mean"] == pytest.approx((2.0 / 3 + 1.0 / 2) / 2)
    assert s["e2e_s"]["p50"] == (3.0 + 2.75) / 2
    assert s["queue_s"]["mean"] == 0.375
    assert s["itl_s"]["mean"] == pytest.approx(3.0 / 5)
    assert s["itl_s"]["p50"] == 0.5
    assert s["output_tokens_per_s"] == pytest.approx(7 / 3)
    assert s["output_tokens_per_s_per_gpu"] == pytest.approx(7 / 6)
    assert s["kv_hit_rate"] == 20 / 160
    assert s["slo_attainment"] == pytest.approx(1 / 3)  # request 1 misses TTFT, 2 is rejected
    assert s["goodput_requests_per_s"] == pytest.approx(1 / 3)
    assert s["gpus"] == 2
    assert s["gpu_busy_share"] == 1.0
    assert s["simulated_s"] == 3.0
    assert s["window"]["kind"] == "all"
    assert s["pools"]["all"]["mean_decode_batch"] == pytest.approx(5 / 3)
    assert s["pools"]["all"]["prefill_tokens_per_s"] == pytest.approx(140 / 3)
    assert s["pools"]["all"]["kv_use_mean"] == pytest.approx((0.1 + 2 * 0.2) / 3)
    assert s["pools"]["all"]["kv_use_peak"] == 0.2
    assert run.read_json("summary.json") == s
    assert run.rows("attribution") == 2


def test_the_summary_of_a_disaggregated_run_divides_by_all_gpus(tmp_path: Path) -> None:
    s = measure(disaggregated().write(tmp_path))
    assert s["gpus"] == 6
    assert s["output_tokens_per_s_per_gpu"] == pytest.approx(3 / 3.25 / 6)
    assert s["gpu_busy_share"] == pytest.approx((2 * 1.0 + 4 * 1.0) / (6 * 3.25))
    assert s["transfers"]["count"] == 1
    assert s["transfers"]["contention_s"] == 0.25
    assert s["transfers"]["wait_s"] == 0.25
    assert s["pools"]["decode"]["tpot_s"]["mean"] == 1.125
    assert s["pools"]["decode"]["ttft_s"]["mean"] is None
    assert s["slo_attainment"] is None
    assert s["goodput_requests_per_s"] is None
    assert s["links"][0]["mean_utilisation"] == pytest.approx(25e9 / (50e9 * 3.75))
    assert s["links"][0]["peak_utilisation"] == pytest.approx((50e9 / 3) / 50e9)


def test_a_run_without_requests_has_a_summary_of_nothing(tmp_path: Path) -> None:
    s = measure(Tables([engine(0)]).write(tmp_path))
    assert s["requests"]["arrived"] == 0
    assert s["ttft_s"]["p99"] is None
    assert s["output_tokens_per_s"] is None
    assert s["kv_hit_rate"] is None
    assert s["attribution"] == {}


def test_a_steady_window_leaves_out_the_first_and_last_arrivals(tmp_path: Path) -> None:
    tables = aggregated()
    tables.facts["window"] = {"steady": {"from_share": 0.5, "to_share": 0.9}}
    s = measure(tables.write(tmp_path))
    assert s["window"] | {"rule": ""} == {
        "kind": "steady", "start_s": 0.25, "end_s": 0.45, "requests": 1, "rule": "",
    }  # fmt: skip
    assert "50%" in s["window"]["rule"]
    assert s["ttft_s"]["mean"] == 1.75
    assert s["output_tokens_per_s"] == 0.0  # the first token of all was made at 1.0


def test_an_unknown_window_names_what_may_be_written(tmp_path: Path) -> None:
    tables = aggregated()
    tables.facts["window"] = {"steady": {"form_share": 0.5}}
    with pytest.raises(ScenarioError, match="did you mean 'from_share'"):
        measure(tables.write(tmp_path))


@pytest.mark.parametrize(
    "column, value, said",
    (
        ("first_token_s", 0.5, "first_token_s before first_step_s"),
        ("generated_tokens", 2, "without exactly its output tokens"),
        ("end_s", 0.1, "end_s before first_token_s"),
    ),
)
def test_times_out_of_order_and_lost_tokens_are_found(
    tmp_path: Path, column: str, value: float, said: str
) -> None:
    tables = aggregated()
    tables.rows["requests"][1][column] = value
    with pytest.raises(BrokenInvariant, match=f"request 1.*{said}"):
        measure(tables.write(tmp_path))


def test_a_request_that_was_never_recorded_is_found(tmp_path: Path) -> None:
    tables = aggregated()
    tables.facts["arrived"] = 4
    with pytest.raises(BrokenInvariant, match="4 requests arrived but"):
        measure(tables.write(tmp_path))


def test_a_step_whose_seconds_do_not_sum_to_its_duration_is_found(tmp_path: Path) -> None:
    tables = aggregated()
    tables.rows["steps"][2]["host_s"] += 1e-6
    with pytest.raises(BrokenInvariant, match="do not sum to its duration"):
        measure(tables.write(tmp_path))
