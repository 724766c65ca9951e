"""The report: one page that needs nothing else."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from miniature import NAN, Tables, aggregated, disaggregated, engine, loop
from toy import Toy

from sim import plugins
from sim.errors import ScenarioError
from sim.measure.summary import measure
from sim.record.run_folder import RunFolder
from sim.report.html import FIGURES, render, warnings, write_report


class Page(HTMLParser):
    """Collects what a browser would fetch, the ids, and the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._inside = ""
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._inside = tag
        if tag == "script":
            self.scripts.append("")
        if tag in ("script", "img", "iframe", "link") and (values.get("src") or values.get("href")):
            self.fetched.append(str(values.get("src") or values.get("href")))
        if tag == "a" and not str(values["href"]).startswith("#"):
            self.fetched.append(str(values["href"]))
        if "id" in values:
            self.ids.append(str(values["id"]))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def measured(tables: Tables, folder: Path) -> RunFolder:
    run = tables.write(folder)
    measure(run)
    return run


def test_the_page_fetches_nothing_and_holds_plotly_once(tmp_path: Path) -> None:
    run = measured(disaggregated(), tmp_path)
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert page.fetched == []
    assert text.count("plotly.js v") == 1
    assert re.search(r"url\(\s*['\"]?http", "".join(re.findall("<style>.*?</style>", text))) is None
    assert len(page.ids) == len(set(page.ids))


def test_the_page_shows_every_figure_of_a_run_with_handoffs(tmp_path: Path) -> None:
    page = Page(render(measured(disaggregated(), tmp_path)))
    for name in plugins.names(FIGURES):
        absent = name.startswith("rl_") or name == "speculation"
        assert (f"figure-{name}" in page.ids) != absent


def test_the_page_shows_settings_sources_and_numbers(tmp_path: Path) -> None:
    text = render(measured(disaggregated(), tmp_path))
    page = Page(text)
    for words in ("name: miniature", "nic_bytes_per_s", "assumed: <half> of the peak", "50 GB/s",
                  "1.125 s", "decode-1"):  # fmt: skip
        assert words in page.text
    assert "<script>alert" not in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    assert render(measured(aggregated(), tmp_path / "a")) == render(
        measured(aggregated(), tmp_path / "b")
    )


def test_a_run_that_was_stopped_or_lost_requests_says_so_first(tmp_path: Path) -> None:
    tables = aggregated()
    tables.facts["partial"] = True
    run = measured(tables, tmp_path)
    said = warnings(run.read_json("summary.json"), run.facts)
    assert "stopped early, at 3 s" in said[0]
    assert "1 of 3 requests did not finish (1 rejected" in said[1]
    assert all(s in Page(render(run)).text for s in said)


def test_the_page_of_a_loop_begins_with_the_loop(tmp_path: Path) -> None:
    run = measured(loop(), tmp_path)
    page = Page(render(run))
    for words in ("4 GPUs", "Step, mean", "Accepted samples/s", "of 6 · 1 filtered · 1 in flight",
                  "Trainer: training takes 50 % of the step"):  # fmt: skip
        assert words in page.text
    assert page.ids.index("figure-rl_timeline") < page.ids.index("figure-throughput")


def test_samples_under_way_at_the_end_of_a_loop_are_no_loss(tmp_path: Path) -> None:
    tables = loop()
    for state in ("unfinished", "unfinished", "rejected"):
        tables.add("requests", request=len(tables.rows["requests"]), state=state, output_tokens=9,
                   first_step_s=NAN, first_token_s=NAN, end_s=14.0)  # fmt: skip
    run = measured(tables, tmp_path)
    said = warnings(run.read_json("summary.json"), run.facts)
    assert len(said) == 1
    assert "1 of 3 requests did not finish" in said[0]


def test_a_run_of_nothing_still_has_a_page(tmp_path: Path) -> None:
    text = render(measured(Tables([engine(0)]), tmp_path))
    assert "No request finished" in text


def test_a_run_that_was_not_measured_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"summary\.json"):
        render(aggregated().write(tmp_path))


def test_many_points_are_thinned_out(tmp_path: Path) -> None:
    toy = Toy(1, pools="aggregated", ranks=1, first_token="prefill", requests=400)
    run = toy.play(tmp_path)
    measure(run)
    assert len(render(run)) < 6_500_000
