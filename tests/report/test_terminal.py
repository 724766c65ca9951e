"""The summary on a terminal."""

from io import StringIO
from pathlib import Path

from miniature import Tables, aggregated, disaggregated, engine, loop
from rich.console import Console

from sim.measure.summary import measure
from sim.report.terminal import print_summary


def printed(tables: Tables, folder: Path) -> str:
    console = Console(width=100, record=True, file=StringIO())
    print_summary(measure(tables.write(folder / "run")), console)
    return console.export_text()


def test_latencies_rates_and_what_was_lost_are_printed(tmp_path: Path) -> None:
    text = printed(aggregated(), tmp_path)
    for words in ("TTFT", "1.375 s", "2.333", "meet the SLO", "1 rejected"):
        assert words in text


def test_pools_are_printed_when_there_are_several(tmp_path: Path) -> None:
    assert "prefill" in printed(disaggregated(), tmp_path)


def test_a_run_of_nothing_is_printed_with_dashes(tmp_path: Path) -> None:
    assert "–" in printed(Tables([engine(0)]), tmp_path)


def test_a_loop_is_printed_with_its_time_its_samples_and_what_bounds_it(tmp_path: Path) -> None:
    text = printed(loop(), tmp_path)
    for words in ("2  steps, asynchronous, 2 + 2 GPUs apart", "35.7 % generation", "2.5 s exposed",
                  "MFU 50 %", "4 trained, 1 filtered, 1 in flight", "Rollouts: "):  # fmt: skip
        assert words in text


def test_a_loop_without_a_step_is_printed(tmp_path: Path) -> None:
    t = loop()
    del t.rows["rl_steps"], t.rows["rl_phases"]
    for sample in t.rows["samples"]:
        sample |= {"state": 4, "step": -1, "uses": 0}
    assert "ended before its first step" in printed(t, tmp_path)
