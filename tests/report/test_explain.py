"""One request's life in words."""

from pathlib import Path

import pytest
from miniature import aggregated, disaggregated
from toy import Toy

from sim.errors import ScenarioError
from sim.measure.summary import measure
from sim.report.explain import explain, life_of, slowest_of


def test_a_handed_off_request_tells_all_its_stages(tmp_path: Path) -> None:
    run = disaggregated().write(tmp_path)
    measure(run)
    told = explain(run, 0)
    for words in ("arrives", "engine prefill-0", "64 tokens computed in 1 chunk(s)",
                  "asks for room", "blocks are reserved", "250 ms of it by sharing links",
                  "engine decode-1",
                  "2 tokens generated", "finished after 3.25 s", "TTFT 1 s"):  # fmt: skip
        assert words in told
    assert "500.000 ms  15.4 %  moving its KV cache" in told
    assert "End to end: 3250.000 ms" in told


def test_cached_tokens_and_rejections_are_told(tmp_path: Path) -> None:
    run = aggregated().write(tmp_path)
    measure(run)
    assert "20 from cache" in explain(run, 1)
    rejected = explain(run, 2)
    assert "rejected (context)" in rejected
    assert "End to end" not in rejected


def test_preemptions_are_told(tmp_path: Path) -> None:
    toy = Toy(3, pools="aggregated", ranks=1, first_token="prefill", requests=60)
    run = toy.play(tmp_path)
    measure(run)
    sent_back = next(s.number for s in toy.seqs if s.preemptions)
    assert "preempted" in explain(run, sent_back)
    assert any(s["closed"] == "preempted" for s in life_of(run, sent_back).stays)


def test_an_unknown_request_is_told_the_range(tmp_path: Path) -> None:
    run = aggregated().write(tmp_path)
    with pytest.raises(ScenarioError, match="no request 3; this run has requests 0 to 2"):
        explain(run, 3)


@pytest.mark.parametrize("metric", ["ttft", "tpot", "e2e"])
def test_the_slowest_request_is_found_among_those_that_finished(
    metric: str, tmp_path: Path
) -> None:
    toy = Toy(3, pools="aggregated", ranks=1, first_token="prefill", requests=60)
    run = toy.play(tmp_path)
    measure(run)
    found = life_of(run, slowest_of(run, metric)).request
    assert found["state"] == "finished"

    def seconds(r: dict[str, float]) -> float:
        if metric == "tpot":
            return (r["end_s"] - r["first_token_s"]) / max(r["generated_tokens"] - 1, 1)
        return (r["first_token_s"] if metric == "ttft" else r["end_s"]) - r["arrival_s"]

    lives = [life_of(run, n).request for n in range(60)]
    done = [r for r in lives if r["state"] == "finished"]
    if metric == "tpot":
        done = [r for r in done if r["generated_tokens"] > 1]
    assert seconds(found) == max(map(seconds, done))


def test_another_metric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean 'ttft'"):
        slowest_of(aggregated().write(tmp_path), "tftt")
