"""Ctrl-C ends a run early, and keeps what was played."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from desk import Desk, scenario


def test_ctrl_c_saves_and_measures_what_was_played(desk: Desk) -> None:
    long = scenario()["workload"] | {
        "requests": 200_000,
        "prompt_tokens": {"constant": {"tokens": 100}},
        "output_tokens": {"constant": {"tokens": 200}},
    }
    desk.write(workload=long)
    process = subprocess.Popen(
        [sys.executable, "-m", "sim", "run", desk.file.name, "--out", "a"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for_tables(Path("a"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert json.loads(Path("a/run.json").read_text())["partial"] is True
    summary: dict[str, Any] = json.loads(Path("a/summary.json").read_text())
    assert summary["partial"] is True
    counts = summary["requests"]
    assert 0 < counts["arrived"] < 200_000
    assert counts["arrived"] == counts["finished"] + counts["unfinished"]
    assert "The run was stopped early." in out
    assert "stopped by Ctrl-C: what was played until then is saved and measured" in err
    assert "Traceback" not in err
    assert Path("a/report.html").is_file()


def _wait_for_tables(folder: Path) -> None:
    """Until the simulation is under way."""
    for _ in range(600):
        if list(folder.glob("*.parquet")):
            time.sleep(1.0)
            return
        time.sleep(0.05)
    raise AssertionError("the run did not begin")
