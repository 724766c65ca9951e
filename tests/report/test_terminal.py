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
    for words in ("2  steps, asynchronous, 2 + 2 GPUs apart; below, means from step 1 on",
                  "33.3 % generation", "over several steps; 2 s exposed", "50 %  while it trains",
                  "4 trained, 1 filtered, 1 in flight", "Trainer: "):  # fmt: skip
        assert words in text


def test_what_is_printed_of_training_is_its_share_of_the_step(tmp_path: Path) -> None:
    t = loop()
    t.rows["rl_steps"][1] |= {"train_s": 1.0, "logprob_s": 2.0}
    t.rows["rl_phases"] = [
        p for p in t.rows["rl_phases"] if not (p["phase"] == 7 and p["step"] == 1)
    ]
    t.add("rl_phases", actor="trainer", phase="logprob", step=1, start_s=10, end_s=12)
    t.add("rl_phases", actor="trainer", phase="train", step=1, start_s=12, end_s=13)
    text = printed(t, tmp_path)
    for words in ("50 % training", "3 s  2 s log-probabilities, 1 s forward"):
        assert words in text


def test_tools_are_printed_where_samples_wait_for_them(tmp_path: Path) -> None:
    t = loop()
    t.rows["samples"][2] |= {"tools_s": 6.0, "tools_wait_s": 3.0}
    assert "50 % of tools' time is standing in line" in printed(t, tmp_path)
    assert "tools" not in printed(loop(), tmp_path / "none")


def test_a_loop_without_a_step_is_printed(tmp_path: Path) -> None:
    t = loop()
    del t.rows["rl_steps"], t.rows["rl_phases"]
    for sample in t.rows["samples"]:
        sample |= {"state": 4, "step": -1, "uses": 0}
    assert "ended before its first step" in printed(t, tmp_path)
