"""One sample's life in words."""

from pathlib import Path

import pytest
from miniature import aggregated, loop

from sim.errors import ScenarioError
from sim.report.explain_sample import explain_sample, sample_of


def test_a_sample_tells_its_versions_and_the_step_that_trained_on_it(tmp_path: Path) -> None:
    told = explain_sample(loop().write(tmp_path), 2)
    for words in ("answer 0 to prompt 2", "response of 60 tokens, trained",
                  "asked for under policy version 0", "now under version 1, interrupted 1 time",
                  "step 1 has trained on it, making version 2",
                  "mean staleness 0.333, oldest token 1"):  # fmt: skip
        assert words in told


def test_a_sample_that_was_not_trained_on_tells_why(tmp_path: Path) -> None:
    run = loop().write(tmp_path)
    assert "its group had nothing to teach" in explain_sample(run, 4)
    assert "still on its way" in explain_sample(run, 5)
    assert sample_of(run, 5)["trained_by"] is None


def test_a_sample_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="samples 0 to 5"):
        explain_sample(loop().write(tmp_path / "loop"), 6)
    with pytest.raises(ScenarioError, match="has no samples"):
        explain_sample(aggregated().write(tmp_path / "run"), 0)


def test_standing_in_line_is_told_from_scoring_and_from_tools(tmp_path: Path) -> None:
    t = loop()
    t.rows["samples"][1] |= {"reward_wait_s": 0.75, "tools_s": 2.0, "tools_wait_s": 0.5}
    told = explain_sample(t.write(tmp_path / "line"), 1)
    assert "after 750 ms of waiting in line and 250 ms of scoring" in told
    assert "500 ms of waiting in line and 1.5 s of tools at work" in told
    assert "after 1 s of scoring" in explain_sample(loop().write(tmp_path / "none"), 1)
