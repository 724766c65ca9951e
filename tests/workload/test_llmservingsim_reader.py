"""Workloads of LLMServingSim's benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.errors import ScenarioError
from sim.workload.prefixes import prefix_hits
from sim.workload.reading import read_trace

LINES: list[dict[str, Any]] = [
    {"arrival_s": 0.5, "input_tokens": 40, "output_tokens": 3, "prefix_blocks": [0, 1]},
    {"arrival_s": 1.5, "input_tokens": 50, "output_tokens": 1, "prefix_blocks": [0, 1, 2]},
]


def written(folder: Path, lines: list[Any]) -> Path:
    path = folder / "workload.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_workload_is_known_by_its_first_line_and_keeps_times_lengths_and_blocks(
    tmp_path: Path,
) -> None:
    trace = read_trace(written(tmp_path, LINES))
    assert trace.arrival_s.tolist() == [0.5, 1.5]
    assert trace.prompt_tokens.tolist() == [40, 50]
    assert trace.output_tokens.tolist() == [3, 1]
    assert trace.block_tokens == 16


def test_the_second_prompt_repeats_the_full_blocks_of_the_first(tmp_path: Path) -> None:
    assert prefix_hits(read_trace(written(tmp_path, LINES))).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prefix_blocks": 7}, "line 2, column prefix_blocks: 7 is not a list"),
        ({"prefix_blocks": ["x"]}, "line 2, column prefix_blocks: 'x' is not a block id"),
        ({"input_tokens": 0}, "line 2, column input_tokens: 0 tokens cannot be served"),
        ({"arrival_s": 0.1}, "line 2, column arrival_s: 0.1 s is earlier"),
        ({"more": 1}, "line 2: there is arrival_s, input_tokens"),
    ],
)
def test_a_damaged_line_is_refused_by_its_number(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, [LINES[0], LINES[1] | change])
    with pytest.raises(ScenarioError, match=said):
        read_trace(path)
