"""What every figure must do, whatever figures there are."""

from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import NAN, Tables, aggregated, disaggregated, engine
from toy import Toy

from sim import plugins
from sim.measure.summary import measure
from sim.record.run_folder import RunFolder
from sim.report.html import FIGURES


def empty(folder: Path) -> RunFolder:
    return Tables([engine(0)]).write(folder)


def only_rejected(folder: Path) -> RunFolder:
    t = Tables([engine(0)])
    t.add("requests", request=0, state="rejected", reason="context", output_tokens=1,
          first_step_s=NAN, first_token_s=NAN)  # fmt: skip
    return t.write(folder)


def with_preemptions(folder: Path) -> RunFolder:
    return Toy(5, pools="disaggregated", ranks=2, first_token="decode", requests=30).play(folder)


RUNS: dict[str, Callable[[Path], RunFolder]] = {
    "empty": empty,
    "only_rejected": only_rejected,
    "aggregated": lambda folder: aggregated().write(folder),
    "disaggregated": lambda folder: disaggregated().write(folder),
    "with_preemptions": with_preemptions,
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
"""Figures that a run without what they show leaves out: tests/report/test_speculation.py."""


@pytest.mark.parametrize("name", sorted(set(plugins.names(FIGURES)) - OF_OTHER_RUNS))
def test_every_axis_of_a_figure_names_what_it_shows(name: str, tmp_path: Path) -> None:
    run = disaggregated().write(tmp_path)
    measure(run)
    drawn = plugins.load(FIGURES, name)().draw(run)
    axes = [a for a in drawn.select_xaxes() if a.visible is not False]
    shared = [a for a in axes if a.matches]
    titled = [a for a in axes if a.title.text]
    assert len(titled) + len(shared) >= len(axes)
    assert all("(" in a.title.text for a in titled)
