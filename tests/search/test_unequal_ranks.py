"""Ranks in lockstep that have different numbers of clients."""

from __future__ import annotations

from math import isfinite

import pytest

from sim.search.estimate import estimate
from sim.search.point import Point

LAYOUT = {"dp_attention": {"dp": 4}}


@pytest.mark.parametrize("clients", [1, 3, 5, 9])
@pytest.mark.parametrize("output_tokens", [1, 2, 60])
def test_every_rank_is_played_as_long_as_the_busiest(clients: int, output_tokens: int) -> None:
    point = Point("qwen3-30b-a3b", "h100", 3000, output_tokens, clients, layout=LAYOUT)
    found = estimate(point)
    assert isfinite(found.ttft_s)
    assert found.ttft_s > 0
