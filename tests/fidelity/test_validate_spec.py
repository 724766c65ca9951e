"""Speculative decoding against measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.errors import ScenarioError
from sim.fidelity.groups import Group, summarise
from sim.fidelity.kinds import Options
from sim.fidelity.kinds.spec import LENGTHS, RUNS
from sim.fidelity.speculated import with_the_rest
from sim.fidelity.targets import target_of
from sim.fidelity.validate import validate

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "spec_decode"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the measured speculation is not in ../shared/data/spec_decode"
)

PLAIN = "Llama-3.1-8B,gsm8k,1,3,1,4,none,190,1.0"
FAST = "Llama-3.1-8B,gsm8k,1,3,1,4,some/draft,380,2.7"
SLOW = "Llama-3.1-8B,gsm8k,1,7,4,8,some/draft,150,2.0"


def written(folder: Path, columns: tuple[str, ...], *rows: str) -> Path:
    file = folder / "spec.csv"
    file.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return file


def groups(file: Path, options: Options | None = None) -> dict[str, Group]:
    return {g.group: g for g in summarise(validate("spec", file, options))}


def test_speedups_are_those_over_the_plain_run_of_the_group(tmp_path: Path) -> None:
    rows = validate("spec", written(tmp_path, RUNS, PLAIN, FAST)).rows
    gain = rows[rows["metric"] == "speed-up, fitted"]
    assert gain["measured_s"].tolist() == [2.0]
    assert gain["predicted_s"].iloc[0] == pytest.approx(2.0, rel=0.1)
    assert gain["fitted"].all()


def test_a_wrong_sign_is_an_error_of_one(tmp_path: Path) -> None:
    rows = validate("spec", written(tmp_path, RUNS, PLAIN, FAST, SLOW)).rows
    sign = rows[rows["metric"] == "sign of the speed-up"]
    error = sign["predicted_s"] / sign["measured_s"] - 1.0
    assert error.tolist() == [0.0, 1.0]


def test_the_gpu_may_be_given_and_takes_as_few_as_hold_the_model(tmp_path: Path) -> None:
    found = groups(written(tmp_path, RUNS, PLAIN, FAST), Options(gpu="h100"))
    assert any(name.startswith("h100 (assumed) TP1") for name in found)


def test_models_that_are_not_known_are_outside(tmp_path: Path) -> None:
    rows = [r.replace("Llama-3.1-8B", "Unheard-Of-7B") for r in (PLAIN, FAST)]
    outside = [g for g in groups(written(tmp_path, RUNS, *rows)).values() if g.outside]
    assert [g.rows for g in outside] == [0, 0]
    assert "not in the catalog" in next(iter(outside[0].reasons))


def test_what_is_left_out_of_a_step_dilutes_its_gain() -> None:
    assert with_the_rest(3.0, 1.0) == pytest.approx(3.0)
    assert with_the_rest(3.0, 0.5) == pytest.approx(1.5)
    assert with_the_rest(0.8, 0.0) == 1.0


def test_files_that_say_too_little_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no plain run"):
        validate("spec", written(tmp_path, RUNS, FAST))
    with pytest.raises(ScenarioError, match="accept_length"):
        validate("spec", written(tmp_path, RUNS[:-1], "a,b,1,3,1,4,none,190"))
    lengths = written(tmp_path, LENGTHS, "m,mtp,on,1,1.8", "m,mtp,on,3,2.5")
    with pytest.raises(ScenarioError, match="no effect"):
        validate("spec", lengths, Options(gpu="h100"))


@pytest.mark.data
@needs_data
def test_speedups_of_drafts_that_were_not_fitted_meet_their_targets() -> None:
    found = groups(DATA / "specforge_eagle3.csv")
    gains, signs = found["all speed-up"], found["all sign of the speed-up"]
    assert gains.rows == 143
    assert gains.mape is not None
    assert gains.mape < 0.07
    assert signs.mape is not None
    assert signs.mape < 0.02
    for group in (gains, signs):
        target = target_of(group)
        assert target is not None
        assert target.met_by(group)
    for group in found.values():
        target = target_of(group)
        assert target is None or target.met_by(group)


@pytest.mark.data
@needs_data
def test_acceptance_lengths_of_other_drafts_than_those_fitted() -> None:
    found = groups(DATA / "inferencex_acceptance_length.csv")
    whole = found["all acceptance length"]
    assert whole.rows == 30
    assert whole.mape is not None
    assert whole.mape < 0.015
    assert whole.p90_ape is not None
    assert whole.p90_ape < 0.045
