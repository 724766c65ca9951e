"""What drafts gained, from rows of `steps`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.measure.speculation import speculation_numbers
from sim.record.log import Columns


def steps(
    each: list[float], plain_s: list[float], alone_s: list[float], decodes: int = 1
) -> Columns:
    """Verify steps of 7 drafts that give so many tokens a sequence."""
    one = np.ones(len(each))
    return {
        "n": one, "decodes": decodes * one, "share": one, "draft_tokens": 7 * one,
        "drafts": 7 * decodes * one, "accepted": decodes * (np.array(each) - 1),
        "plain_s": np.array(plain_s), "decode_alone_s": np.array(alone_s),
    }  # fmt: skip


def speedup(rows: Columns) -> float:
    return float(speculation_numbers(rows, rows["n"] > 0)["speedup_over_plain"])


def test_a_step_of_luck_does_not_count_for_more_than_its_time() -> None:
    """Steps as long as plain ones: five tokens in two of them, whoever got them."""
    rows = steps([4, 1], [1.0, 1.0], [1.0, 1.0])
    assert speedup(rows) == pytest.approx(2.5)
    assert speculation_numbers(rows, rows["n"] > 0)["acceptance_length"] == pytest.approx(2.5)


def test_a_long_step_that_gains_little_weighs_by_its_seconds() -> None:
    """2 tokens in 1 s that take 2 s plain, and 2 in 9 s that take 6 s plain."""
    assert speedup(steps([2, 2], [1.0, 3.0], [1.0, 9.0])) == pytest.approx(8 / 10)


@given(
    luck=st.lists(st.integers(1, 8), min_size=1, max_size=20),
    slower=st.floats(1.0, 3.0),
)
def test_drafts_never_gain_more_than_they_give(luck: list[int], slower: float) -> None:
    """Where a verify step takes as long as a plain one or longer, the most is the tokens of one."""
    rows = steps([float(n) for n in luck], [1.0] * len(luck), [slower] * len(luck))
    length = speculation_numbers(rows, rows["n"] > 0)["acceptance_length"]
    assert speedup(rows) == pytest.approx(length / slower)
