"""Commands that play nothing: help, version, list, check, schema."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, scenario

from sim.cli import COMMANDS
from sim.scenario.listing import first_sentence, kinds, rows_of

REPOSITORY = Path(__file__).parents[2]
HEAVY = ("numpy", "simpy", "pydantic", "pyarrow", "pandas", "plotly", "networkx", "yaml", "jinja2")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(desk: Desk, command: str) -> None:
    said = desk.sim(command, "--help")
    assert said.code == 0
    assert f"sim {command}" in said.out.split("Example")[1]


def test_help_imports_nothing_that_simulates() -> None:
    asks = (
        "import sys; from sim.cli import main\n"
        f"try: main()\nfinally: print([m for m in {HEAVY} if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", asks, "--help"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.endswith("[]\n")


def test_help_answers_at_once() -> None:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sim", "--help"], capture_output=True, check=True)
        return time.perf_counter() - began

    assert min(once() for _ in range(3)) < 0.5


def test_version_is_printed(desk: Desk) -> None:
    assert desk.sim("--version").out.startswith("sim ")


def test_the_module_works_like_the_command(desk: Desk) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "sim", "run", "nowhere.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 2
    assert shown.stderr.startswith("error: scenario 'nowhere.yaml' is not there")
    assert shown.stderr.count("\n") == 1


def test_list_without_a_word_lists_the_kinds(desk: Desk) -> None:
    asked = (
        "gpus models formats topologies routers batchers orders preemptions evictions deployments "
        "admissions placements fabrics layouts timers arrivals lengths readers"
    )
    found = json.loads(desk.sim("list", "--json").out)
    assert set(asked.split()) <= set(found)
    assert found["batchers"] == "pools.NAME.engine.batcher"
    assert "deployment.aggregated.router" in desk.sim("list").out


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_is_listed_with_meanings_or_sources(desk: Desk, kind: str) -> None:
    rows = json.loads(desk.sim("list", kind, "--json").out)
    assert rows
    shown = desk.sim("list", kind).out
    for row in rows:
        assert row["name"] in shown
        assert row.get("meaning") or row.get("sources") or row.get("source")


def test_figures_are_listed_with_their_sources(desk: Desk) -> None:
    shown = desk.sim("list", "gpus").out
    assert "Sources" in shown
    assert "data sheet" in shown


def test_settings_of_policies_are_listed_with_their_defaults() -> None:
    affinity = next(r for r in rows_of("routers") if r["name"] == "prefix_affinity")
    assert affinity["settings"]["slack_requests"]["default"] == 16
    poisson = next(r for r in rows_of("arrivals") if r["name"] == "poisson")
    assert poisson["settings"]["rate_per_s"] == {
        "needed": True,
        "default": None,
        "meaning": "Requests per second, on average.",
    }


def test_a_first_sentence_ends_at_its_point() -> None:
    assert first_sentence("One, e.g. this.\n\nTwo.") == "One, e.g. this."
    assert first_sentence("Seats in\nturn (Foo et al., 2023; a). They wait.") == (
        "Seats in turn (Foo et al., 2023; a)."
    )


def test_check_shows_pools_memory_workload_and_machine(desk: Desk) -> None:
    facts = json.loads(desk.sim("check", desk.file, "--json").out)
    pool = facts["pools"]["serve"]
    assert (pool["gpus"], pool["layout"], pool["gpu"]) == (1, "TP1", "h100")
    m = pool["memory"]
    usable = m["gpu_bytes"] * m["gpu_memory_utilization"]
    spent = m["weight_bytes"] + m["activation_bytes"] + m["reserve_bytes"] + m["kv_bytes"]
    assert spent == pytest.approx(usable)
    assert m["kv_tokens"] == m["kv_blocks"] * 16
    assert m["kv_tokens"] * m["kv_bytes_per_token"] <= m["kv_bytes"]
    assert facts["workload"]["count"] == 12
    assert facts["topology"]["gpus_idle"] == 7
    assert facts["assumptions"]
    assert facts["warnings"] == []
    shown = desk.sim("check", desk.file).out
    assert "reserve =" in shown
    assert "12 requests in" in shown
    assert "7 idle" in shown


def test_check_counts_the_kv_of_the_run(desk: Desk) -> None:
    desk.sim("run", desk.file, "--out", "a", "--no-report")
    engine = json.loads(Path("a/run.json").read_text())["engines"][0]
    checked = json.loads(desk.sim("check", desk.file, "--json").out)["pools"]["serve"]["memory"]
    assert checked["kv_blocks"] == engine["kv_blocks"]
    assert checked["weight_bytes"] == engine["weight_bytes"]


def test_check_writes_nothing(desk: Desk) -> None:
    desk.sim("check", desk.file)
    assert [p.name for p in desk.folder.iterdir()] == ["small.yaml"]


def test_schema_is_json(desk: Desk) -> None:
    schema: dict[str, Any] = json.loads(desk.sim("schema").out)
    assert set(scenario()) <= set(schema["properties"])
