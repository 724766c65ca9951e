"""Lengths follow their laws, and a request's length depends on seed, stream and number alone."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sim import plugins
from sim.errors import ScenarioError
from sim.rng import Draws
from sim.workload.lengths import Lengths
from sim.workload.lengths.empirical import Empirical
from sim.workload.lengths.lognormal import Lognormal
from sim.workload.lengths.uniform import Uniform

FOLDER = "sim.workload.lengths"
N = 100_000
NUMBERS = np.arange(N, dtype=np.int64)
Z = 4.0  # standard errors: a sound law is outside once in 16,000 looks
PAIRS = "prompt,answer\n" + "".join(f"{i},{1000 + i}\n" for i in range(1, 51))


def draws(stream: str = "workload.prompt_tokens", seed: int = 7) -> Draws:
    return Draws(seed, stream)


@pytest.fixture
def laws(tmp_path: Path) -> dict[str, Lengths]:
    (tmp_path / "pairs.csv").write_text(PAIRS)
    return {
        "constant": decoded("constant", tokens=9),
        "uniform": decoded("uniform", min_tokens=1, max_tokens=900),
        "lognormal": decoded("lognormal", mean_tokens=300, cv=1.5),
        "empirical": decoded("empirical", path=str(tmp_path / "pairs.csv"), column="prompt"),
    }


def decoded(name: str, **settings: Any) -> Lengths:
    law: Lengths = TypeAdapter(Annotated[Any, plugins.policy(FOLDER)]).validate_python(
        {name: settings}
    )
    return law


@pytest.mark.parametrize("name", plugins.names(FOLDER))
def test_every_law_gives_whole_tokens_from_one_on(name: str, laws: dict[str, Lengths]) -> None:
    lengths = laws[name].sample(draws(), NUMBERS)
    assert lengths.shape == (N,)
    assert lengths.dtype == np.int64
    assert lengths.min() >= 1
    assert len(laws[name].sample(draws(), NUMBERS[:0])) == 0


@pytest.mark.parametrize("name", plugins.names(FOLDER))
def test_a_length_does_not_depend_on_which_others_are_drawn(
    name: str, laws: dict[str, Lengths]
) -> None:
    some = np.array([5, 99_999, 0, 17])
    whole = laws[name].sample(draws(), NUMBERS)
    assert laws[name].sample(draws(), some).tolist() == whole[some].tolist()
    assert (laws[name].sample(draws(), NUMBERS) == whole).all()
    if name != "constant":
        assert (laws[name].sample(draws(seed=8), NUMBERS) != whole).any()
        assert (laws[name].sample(draws("rollout.lengths"), NUMBERS) != whole).any()


@pytest.mark.parametrize("name", plugins.names(FOLDER))
def test_a_law_survives_being_written_out_and_read_back(
    name: str, laws: dict[str, Lengths]
) -> None:
    adapter = TypeAdapter(Annotated[Any, plugins.policy(FOLDER)])
    assert adapter.validate_python(adapter.dump_python(laws[name])) == laws[name]


def test_uniform_has_the_mean_and_the_ends_of_its_law() -> None:
    lengths = Uniform(min_tokens=3, max_tokens=12).sample(draws(), NUMBERS)
    assert set(lengths.tolist()) == set(range(3, 13))
    error = math.sqrt((10**2 - 1) / 12 / N)
    assert abs(lengths.mean() - 7.5) < Z * error


@pytest.mark.parametrize(
    "shape", [{"sigma": 0.8}, {"cv": math.sqrt(math.expm1(0.64))}, {"p50_tokens": 726.149}]
)
def test_lognormal_has_its_mean_and_median_however_it_is_given(shape: dict[str, float]) -> None:
    lengths = Lognormal(mean_tokens=1000.0, **shape).sample(draws(), NUMBERS)
    error = 1000 * math.sqrt(math.expm1(0.64) / N)
    assert abs(lengths.mean() - 1000) < Z * error
    below = (lengths <= 1000 * math.exp(-0.32)).mean()
    assert abs(below - 0.5) < Z * 0.5 / math.sqrt(N)
    sigma = np.log(lengths).std()
    assert abs(sigma - 0.8) < Z * 0.8 / math.sqrt(2 * N) + 1e-3


def test_lognormal_keeps_to_its_bounds() -> None:
    law = Lognormal(mean_tokens=100.0, cv=2.0, min_tokens=50, max_tokens=200)
    lengths = law.sample(draws(), NUMBERS)
    assert (lengths.min(), lengths.max()) == (50, 200)


@given(st.floats(1e-3, 1e12), st.floats(1e-3, 50.0))
def test_no_lognormal_overflows(mean: float, cv: float) -> None:
    lengths = Lognormal(mean_tokens=mean, cv=cv).sample(draws(), NUMBERS[:100])
    assert lengths.min() >= 1


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("lognormal", {"mean_tokens": 10}, "exactly one of"),
        ("lognormal", {"mean_tokens": 10, "cv": 1, "sigma": 1}, "cv"),
        ("lognormal", {"mean_tokens": 10, "p50_tokens": 10}, "p50_tokens"),
        ("lognormal", {"mean_tokens": 10, "cv": 1, "min_tokens": 9, "max_tokens": 8}, "swap"),
        ("lognormal", {"mean_tokens": 10, "cv": 0}, "more than 0"),
        ("uniform", {"min_tokens": 9, "max_tokens": 8}, "swap"),
        ("constant", {"tokens": 0}, "at least 1"),
        ("constant", {"tokens": 1, "token": 1}, "token"),
        ("constnat", {}, "did you mean 'constant'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, settings: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValidationError, match=word):
        decoded(name, **settings)


# ------------------------------------------------------------------ empirical


def test_two_columns_of_one_file_stay_pairs(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv.gz").write_bytes(gzip.compress(PAIRS.encode()))
    prompts = Empirical(path="pairs.csv.gz", column="prompt")
    answers = Empirical(path="./pairs.csv.gz", column="answer")
    drawn = prompts.sample(draws("workload.prompt_tokens"), NUMBERS, tmp_path)
    paired = answers.sample(draws("workload.output_tokens"), NUMBERS, tmp_path)
    assert (paired == drawn + 1000).all()


def test_every_row_of_a_file_is_as_likely(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(PAIRS)
    drawn = Empirical(path="pairs.csv", column="prompt").sample(draws(), NUMBERS, tmp_path)
    counts = np.bincount(drawn, minlength=51)[1:]
    chi2 = ((counts - N / 50) ** 2 / (N / 50)).sum()
    assert abs(chi2 - 49) < Z * math.sqrt(2 * 49)


def test_lengths_of_a_trace_in_any_format() -> None:
    sample = Path(__file__).parents[2] / "traces" / "sample_mooncake.jsonl"
    prompts = Empirical(path=str(sample), column="prompt_tokens").sample(draws(), NUMBERS)
    answers = Empirical(path=str(sample), column="output_tokens").sample(draws(), NUMBERS)
    assert prompts.mean() > 10 * answers.mean()


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(PAIRS)
    with pytest.raises(ScenarioError, match=r"no column 'out'.*prompt, answer"):
        Empirical(path="pairs.csv", column="out").sample(draws(), NUMBERS, tmp_path)


def test_an_empty_answer_in_a_file_of_lengths_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("a,b\n5,5\n4,0\n")
    with pytest.raises(ScenarioError, match="line 3, column b: 0 tokens"):
        Empirical(path="l.csv", column="b").sample(draws(), NUMBERS, tmp_path)
