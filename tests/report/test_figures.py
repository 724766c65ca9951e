"""What every figure must do, whatever figures there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.toy_loops import ToyLoop
from miniature import NAN, Tables, aggregated, disaggregated, engine, loop
from toy import Toy

from sim import plugins
from sim.measure.summary import measure
from sim.record.run_folder import RunFolder
from sim.report.html import FIGURES, draw_figures


def empty(folder: Path) -> RunFolder:
    return Tables([engine(0)]).write(folder)


def only_rejected(folder: Path) -> RunFolder:
    t = Tables([engine(0)])
    t.add("requests", request=0, state="rejected", reason="context", output_tokens=1,
          first_step_s=NAN, first_token_s=NAN)  # fmt: skip
    return t.write(folder)


def with_preemptions(folder: Path) -> RunFolder:
    return Toy(5, pools="disaggregated", ranks=2, first_token="decode", requests=30).play(folder)


def with_a_loop(folder: Path) -> RunFolder:
    run = ToyLoop(staleness=2, drop=0.3).write(folder)
    run.write_json("split.json", SPLIT)
    return run


def stopped_loop(folder: Path) -> RunFolder:
    """Stopped before its first step was done."""
    t = loop()
    del t.rows["rl_steps"], t.rows["rl_phases"]
    for sample in t.rows["samples"]:
        sample |= {"state": 4, "step": -1, "uses": 0}
    return t.write(folder)


SPLIT = [
    {"rollout_gpus": r, "trainer_gpus": 8 - r, "step_s": 9.0, "generation_s": 36.0 / r,
     "train_s": 36.0 / (8 - r), "accepted_samples_per_s": 1.0} for r in (2, 4, 6)
]  # fmt: skip
RUNS: dict[str, Callable[[Path], RunFolder]] = {
    "empty": empty,
    "only_rejected": only_rejected,
    "aggregated": lambda folder: aggregated().write(folder),
    "disaggregated": lambda folder: disaggregated().write(folder),
    "with_preemptions": with_preemptions,
    "synchronous_loop": lambda folder: ToyLoop().write(folder),
    "with_a_loop": with_a_loop,
    "long_loop": lambda folder: ToyLoop(steps=700, prompts=2, staleness=1).write(folder),
    "stopped_loop": stopped_loop,
}


@pytest.mark.parametrize("name", plugins.names(FIGURES))
@pytest.mark.parametrize("run", RUNS)
def test_a_figure_draws_or_has_nothing_to_show(name: str, run: str, tmp_path: Path) -> None:
    folder = RUNS[run](tmp_path)
    measure(folder)
    figure = plugins.load(FIGURES, name)()
    assert figure.title
    assert figure.section
    assert figure.note.endswith(".")
    drawn = figure.draw(folder)
    if run == "empty":
        assert drawn is None or name == "link_utilisation"
    if drawn is not None:
        assert drawn.layout.height > 100
        assert len(drawn.data) > 0
        assert drawn.to_json() == plugins.load(FIGURES, name)().draw(folder).to_json()


OF_OTHER_RUNS = {"speculation"}
"""Figures that a run without what they show leaves out: tests/report/test_speculation_page.py."""


@pytest.mark.parametrize("name", sorted(set(plugins.names(FIGURES)) - OF_OTHER_RUNS))
def test_every_axis_of_a_figure_names_what_it_shows(name: str, tmp_path: Path) -> None:
    run = with_a_loop(tmp_path) if name.startswith("rl_") else disaggregated().write(tmp_path)
    measure(run)
    drawn = plugins.load(FIGURES, name)().draw(run)
    axes = [a for a in drawn.select_xaxes() if a.visible is not False]
    shared = [a for a in axes if a.matches]
    titled = [a for a in axes if a.title.text]
    assert len(titled) + len(shared) >= len(axes)
    assert all("(" in a.title.text for a in titled)


def test_a_loop_comes_first_in_its_own_order(tmp_path: Path) -> None:
    run = with_a_loop(tmp_path)
    measure(run)
    drawn = draw_figures(run)
    assert next(iter(drawn)) == "Reinforcement learning"
    names = [f["name"] for f in drawn["Reinforcement learning"]]
    assert names[:2] == ["rl_timeline", "rl_step_time"]
    assert set(names) == {n for n in plugins.names(FIGURES) if n.startswith("rl_")}


def test_a_serving_run_shows_no_loop(tmp_path: Path) -> None:
    run = aggregated().write(tmp_path)
    measure(run)
    assert "Reinforcement learning" not in draw_figures(run)


def of_loop(folder: Path, name: str) -> list[Any]:
    """The traces of a figure of the loop that is counted by hand."""
    run = loop().write(folder)
    return list(plugins.load(FIGURES, name)().draw(run).data)


def test_the_stacked_parts_of_a_step_are_its_duration(tmp_path: Path) -> None:
    traces = of_loop(tmp_path, "rl_step_time")
    assert sum(np.asarray(t.y, dtype=float) for t in traces).tolist() == [8.0, 6.0]
    assert [t.name for t in traces] == [
        "waiting for tokens", "waiting for rewards alone", "training", "weight sync",
    ]  # fmt: skip


def test_samples_in_flight_end_as_many_as_the_run_left(tmp_path: Path) -> None:
    *levels, dots = of_loop(tmp_path, "rl_in_flight")
    assert sum(float(t.y[-1]) for t in levels) == dots.y[-1] == 1
    assert all(np.min(t.y) >= 0 for t in levels)


def test_the_staleness_of_all_tokens_is_in_the_histogram(tmp_path: Path) -> None:
    bars = of_loop(tmp_path, "rl_staleness")[0]
    assert np.sum(bars.y) == pytest.approx(100.0)
    assert dict(zip(bars.x.tolist(), bars.y.tolist(), strict=True))[0.25] == pytest.approx(50.0)


def test_goodput_over_time_adds_up_to_the_samples(tmp_path: Path) -> None:
    for trace, count in zip(of_loop(tmp_path, "rl_goodput"), (5, 1, 4), strict=True):
        assert np.sum(trace.y[:-1] * np.diff(trace.x)) == pytest.approx(count)


def test_tokens_per_gpu_over_time_add_up_to_the_tokens(tmp_path: Path) -> None:
    for trace, tokens in zip(of_loop(tmp_path, "rl_tokens"), (50, 160), strict=True):
        assert np.mean(trace.y) * 14.0 * 2 == pytest.approx(tokens, rel=1e-5)


def test_every_fate_is_drawn_with_its_samples(tmp_path: Path) -> None:
    traces = of_loop(tmp_path, "rl_fates")
    assert {t.name: int(np.sum(t.y)) for t in traces} == {
        "trained (4)": 4, "filtered (1)": 1, "in flight (1)": 1,
    }  # fmt: skip
