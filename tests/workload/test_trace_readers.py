"""Files in known formats are read exactly, and damaged ones are refused where the damage is."""

from __future__ import annotations

import gzip
import json
import runpy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim import plugins
from sim.errors import ScenarioError
from sim.workload.describe import describe
from sim.workload.prefixes import prefix_hits
from sim.workload.reading import find_file, read_trace
from sim.workload.request import Request
from sim.workload.source import OpenSource

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "traces"
FOLDER = "sim.workload.readers"

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:50.9951691,879,55
"""
MOONCAKE = """{"timestamp": 0, "input_length": 1030, "output_length": 5, "hash_ids": [0, 1, 2]}
{"timestamp": 0, "input_length": 512, "output_length": 4, "hash_ids": [0]}
{"timestamp": 3000, "input_length": 1600, "output_length": 9, "hash_ids": [0, 1, 7, 8]}
"""
CANONICAL = """arrival_s,prompt_tokens,output_tokens,max_tokens,block_tokens,block_ids
0.0,40,12,64,16,0 1 2
0.25,55,8,,16,0 1 3 4
0.25,5,8,,16,
"""
LLMSERVINGSIM = """\
{"arrival_s": 0.5, "input_tokens": 40, "output_tokens": 3, "prefix_blocks": [0, 1]}
{"arrival_s": 0.5, "input_tokens": 9, "output_tokens": 8, "prefix_blocks": []}
{"arrival_s": 1.5, "input_tokens": 50, "output_tokens": 1, "prefix_blocks": [0, 1, 2]}
"""
SMALL = {"azure": AZURE, "mooncake": MOONCAKE, "canonical": CANONICAL,
         "llmservingsim": LLMSERVINGSIM}  # fmt: skip
FORMATS = [n for n in plugins.names(FOLDER) if n != "auto"]

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str, name: str = "t.txt") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return tmp_path / name

    return write_file


def all_of(source: OpenSource) -> list[Request]:
    return [source.take() for _ in range(source.expected)]


def refusal(path: Path, reader: str = "auto") -> str:
    with pytest.raises(ScenarioError) as caught:
        read_trace(path, reader)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def read_or_refused(path: Path, reader: str) -> int:
    """How many sound requests a perhaps damaged file gave."""
    try:
        trace = read_trace(path, reader)
    except ScenarioError as error:
        return 0 if str(path) in str(error) else 1_000
    sound = (np.diff(trace.arrival_s) >= 0).all() and trace.prompt_tokens.min() >= 1
    return len(trace) if sound else 1_000


# ------------------------------------------------------------------ every reader of the folder


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_small_example_here(name: str) -> None:
    assert name in SMALL


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_knows_its_own_files_and_no_others(name: str) -> None:
    cls = plugins.load(FOLDER, name)
    assert [other for other, text in SMALL.items() if cls.sniff(text)] == [name]
    assert not cls.sniff("")
    assert not cls.sniff("\x00\x01 nonsense, \n{")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_reads_the_same_by_name_or_not_and_gzipped_or_not(
    name: str, ending: str, write: Write, tmp_path: Path
) -> None:
    path = write(SMALL[name].replace("\n", ending))
    packed = tmp_path / "no-telling-suffix"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    traces = [read_trace(path, name), read_trace(path), read_trace(packed)]
    requests = [all_of(OpenSource(trace)) for trace in traces]
    assert requests[0] == requests[1] == requests[2]
    assert len(requests[0]) == 3


@pytest.mark.parametrize("name", FORMATS)
def test_the_last_newline_and_blank_lines_after_it_do_not_matter(name: str, write: Write) -> None:
    assert len(read_trace(write(SMALL[name].rstrip("\n")))) == 3
    assert len(read_trace(write(SMALL[name] + "\n \n"))) == 3


@pytest.mark.parametrize("name", FORMATS)
def test_a_blank_line_inside_is_refused(name: str, write: Write) -> None:
    lines = SMALL[name].splitlines(keepends=True)
    assert "line 3" in refusal(write("".join([*lines[:2], "\n", *lines[2:]])))


@pytest.mark.parametrize("name", FORMATS)
def test_a_torn_gzip_is_refused_with_the_line(name: str, tmp_path: Path) -> None:
    body = SMALL[name].splitlines(keepends=True)[-1]
    whole = gzip.compress((SMALL[name] + body * 20_000).encode())
    path = tmp_path / "torn.gz"
    for keep in (len(whole) // 2, len(whole) - 4, 25):
        path.write_bytes(whole[:keep])
        message = refusal(path, name)
        assert ", line " in message
        assert "torn" in message


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_file_and_one_without_requests_are_refused(name: str, write: Write) -> None:
    assert "empty" in refusal(write(""))
    assert "empty" in refusal(write("\n\n"))
    for text in ("", SMALL[name].splitlines()[0]) if not SMALL[name].startswith("{") else ("",):
        assert "empty" in (message := refusal(write(text), name)) or "no requests" in message


@pytest.mark.parametrize("name", FORMATS)
def test_any_torn_prefix_is_read_in_part_or_refused_in_one_sentence(
    name: str, write: Write
) -> None:
    text = SMALL[name]
    for end in range(len(text)):
        assert read_or_refused(write(text[:end]), name) <= 3


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_read_or_refused_but_never_crashes(
    name: str, data: st.DataObject, write: Write
) -> None:
    text = SMALL[name]
    at = data.draw(st.integers(0, len(text) - 1))
    junk = data.draw(
        st.sampled_from(["", "-", "x", '"', ",", "\n", "9" * 30, "²", "NaN", "[", "}"])
    )
    path = write(text[:at] + junk + text[at + data.draw(st.integers(0, 3)) :])
    assert read_or_refused(path, name) <= 5


# ------------------------------------------------------------------ what each says


def test_azure_times_are_exact_to_100_ns(write: Write) -> None:
    trace = read_trace(write(AZURE))
    assert trace.arrival_s.tolist() == [0.0, 4.3145790, 4.3145791]
    assert trace.prompt_tokens.tolist() == [374, 396, 879]
    assert trace.output_tokens.tolist() == [44, 109, 55]
    assert trace.block_ids is None


def test_azure_times_are_exact_over_a_week_and_past_midnight(write: Write) -> None:
    text = AZURE.splitlines()[0] + "\n2024-02-28 23:59:59.9999999,1,1\n2024-03-07 00:00:00.0,1,1\n"
    week = 7 * 86400  # the 29th of February is one of the days
    assert read_trace(write(text)).arrival_s.tolist() == [0.0, week + 1e-7]


def test_azure_times_of_2024_with_a_zone_are_read(write: Write) -> None:
    text = AZURE.replace(",374", "+00:00,374").replace(",396", "Z,396")
    assert read_trace(write(text)).arrival_s.tolist() == [0.0, 4.3145790, 4.3145791]


def test_mooncake_milliseconds_and_block_ids(write: Write) -> None:
    trace = read_trace(write(MOONCAKE))
    source = OpenSource(trace)
    first, second, third = (source.take() for _ in range(3))
    assert (first.arrival_s, second.arrival_s, third.arrival_s) == (0.0, 0.0, 3.0)
    assert (first.block_ids, second.block_ids, third.block_ids) == ((0, 1, 2), (0,), (0, 1, 7, 8))
    assert third.block_tokens == 512
    assert third.max_tokens is None


def test_canonical_maximum_is_none_where_nothing_was_declared(write: Write) -> None:
    source = OpenSource(read_trace(write(CANONICAL)))
    requests = [source.take() for _ in range(3)]
    assert [r.max_tokens for r in requests] == [64, None, None]
    assert [r.block_ids for r in requests] == [(0, 1, 2), (0, 1, 3, 4), ()]


def test_canonical_needs_three_columns_only(write: Write) -> None:
    source = OpenSource(read_trace(write("output_tokens,arrival_s,prompt_tokens\n7, 1.5, 9\n")))
    request = source.take()
    assert (request.arrival_s, request.prompt_tokens, request.output_tokens) == (1.5, 9, 7)
    assert (request.block_ids, request.block_tokens, request.max_tokens) == ((), 0, None)


REFUSED = {
    "a zero prompt": ("azure", ",396,", ",0,", "line 3, column ContextTokens: 0 "),
    "a zero answer": ("azure", ",109", ",0", "line 3, column GeneratedTokens: 0 "),
    "a negative prompt": ("azure", ",396,", ",-5,", "line 3, column ContextTokens: '-5' "),
    "a fraction": ("azure", ",396,", ",3.5,", "line 3, column ContextTokens: '3.5' "),
    "a huge number": ("azure", ",396,", "," + "9" * 25 + ",", "line 3, column ContextTokens"),
    "no number": ("azure", ",396,", ",,", "line 3, column ContextTokens: '' "),
    "a torn line": ("azure", ",879,55\n", ",8", "line 4: there are 2 of 3 cells, GeneratedTokens"),
    "a cell too many": ("azure", ",109", ",109,1", "line 3: there are 4 cells for 3 columns"),
    "time backwards": ("azure", "18:15:50.9951690", "18:15:40", "line 3, column TIMESTAMP: 2023"),
    "no time": ("azure", "18:15:50.9951690", "noon", "line 3, column TIMESTAMP: '2023"),
    "the 41st of a month": ("azure", "11-16 18:15:50.9951690", "11-41 18:15:50", "line 3, column"),
    "an extra column": ("azure", "GeneratedTokens", "GeneratedTokens,NumImages", "line 1: Num"),
    "a wrong column": ("azure", "GeneratedTokens", "Tokens", "GeneratedTokens is missing"),
    "torn json": ("mooncake", "7, 8]}\n", "7,", "line 3: this is not a whole JSON object"),
    "a foreign key": ("mooncake", '"output_length": 4', '"output_length": 4, "priority": 1',
                      "line 2: 'priority' means nothing here"),
    "a lost key": ("mooncake", '"output_length": 4, ', "", "line 2: output_length is missing"),
    "a zero prompt in json": ("mooncake", '"input_length": 512', '"input_length": 0',
                              "line 2, column input_length: 0 "),
    "true for a number": ("mooncake", '"input_length": 512', '"input_length": true',
                          "line 2, column input_length: True "),
    "text for a number": ("mooncake", '"timestamp": 3000', '"timestamp": "soon"',
                          "line 3, column timestamp: 'soon'"),
    "no finite time": ("mooncake", '"timestamp": 3000', '"timestamp": NaN',
                       "line 3, column timestamp: nan "),
    "json time backwards": ("mooncake", '"timestamp": 0, "input_length": 1030',
                            '"timestamp": 5000, "input_length": 1030', "line 2, column timestamp"),
    "a block that is no id": ("mooncake", "[0, 1, 7, 8]", "[0, 1, 7.5, 8]",
                              "line 3, column hash_ids: 7.5 "),
    "a negative id": ("mooncake", "[0, 1, 7, 8]", "[0, 1, -7, 8]", "line 3, column hash_ids: -7 "),
    "another block size": ("mooncake", "[0, 1, 7, 8]", "[0, 1]", "line 3, column hash_ids: 2 ids"),
    "more ids than blocks": ("mooncake", "[0]}", "[0, 5, 6, 9]}", "line 2, column hash_ids: 4 ids"),
    "an id with two prefixes": ("mooncake", "[0, 1, 7, 8]", "[0, 2, 7, 8]",
                                "line 3, column hash_ids: 2 follows another block here than on "
                                "line 1"),
    "a maximum below the answer": ("canonical", "12,64", "12,11", "line 2, column max_tokens: 11 "),
    "a maximum of zero": ("canonical", "12,64", "12,0", "line 2, column max_tokens: 0 "),
    "two block sizes": ("canonical", "8,,16,0 1 3 4", "8,,32,0 1", "line 3, column block_tokens"),
    "a word among ids": ("canonical", "0 1 3 4", "0 1 x 4", "line 3, column block_ids: 'x'"),
    "a negative time": ("canonical", "0.0,40", "-1,40", "line 2, column arrival_s: -1.0 "),
    "an infinite time": ("canonical", "0.25,55", "inf,55", "line 3, column arrival_s: inf "),
    "unsorted seconds": ("canonical", "0.0,40", "9,40", "line 3, column arrival_s: 0.25 "),
    "an unclosed quote": ("canonical", "0 1 3 4", '"0 1 3', "line 3: this is not CSV"),
    "ids without their size": ("canonical", "block_tokens,", "", "block_tokens and block_ids"),
    "a column unheard of": ("canonical", "max_tokens", "user", "user is not a column"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_line_column_and_value(what: str, write: Write) -> None:
    name, old, new, expected = REFUSED[what]
    assert SMALL[name].count(old) >= 1
    assert expected in refusal(write(SMALL[name].replace(old, new, 1)), name)


def test_line_numbers_hold_beyond_the_first_piece_of_a_long_file(write: Write) -> None:
    rows = [f"{i},5,5" for i in range(70_000)]
    rows[65_001] = "65001,5,0"
    path = write("arrival_s,prompt_tokens,output_tokens\n" + "\n".join(rows))
    assert "line 65003, column output_tokens: 0 " in refusal(path)
    rows[65_001] = "65001,5,many"
    path = write("arrival_s,prompt_tokens,output_tokens\n" + "\n".join(rows))
    assert "line 65003, column output_tokens: 'many' " in refusal(path)


def test_a_prompt_of_a_million_tokens_in_small_blocks_is_read(write: Write) -> None:
    ids = " ".join(str(10**8 + i) for i in range(65_536))
    header = "arrival_s,prompt_tokens,output_tokens,block_tokens,block_ids"
    trace = read_trace(write(f"{header}\n0,1048576,1,16,{ids}\n"))
    assert len(OpenSource(trace).take().block_ids) == 65_536


def test_a_number_of_five_thousand_digits_is_refused(write: Write) -> None:
    path = write(AZURE.replace(",396,", f",{'9' * 5000},"))
    assert "line 3, column ContextTokens: '9999" in refusal(path)


def test_an_unknown_format_lists_the_known_ones(write: Write) -> None:
    message = refusal(write("when,what\n1,2\n"))
    assert all(name in message for name in FORMATS)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.bin"
    path.write_bytes(b"TIMESTAMP,\xff\xfe\x00")
    assert "not UTF-8" in refusal(path)


def test_a_missing_file_names_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"there is no file no/such\.csv from the current"):
        read_trace("no/such.csv", base=tmp_path)
    with pytest.raises(ScenarioError, match="is a folder"):
        read_trace(tmp_path)


def test_an_unknown_reader_suggests_a_near_one(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean 'azure'"):
        read_trace(tmp_path, "azur")


def test_a_path_is_found_beside_the_scenario_or_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    deep = tmp_path / "repo" / "experiments" / "001"
    deep.mkdir(parents=True)
    (tmp_path / "repo" / "a.csv").write_text("repo")
    (tmp_path / "outside.csv").write_text("outside")
    monkeypatch.chdir(tmp_path / "repo" / "experiments")
    assert find_file("a.csv", deep).read_text() == "repo"
    (deep / "a.csv").write_text("beside")
    assert find_file("a.csv", deep).read_text() == "beside"
    (tmp_path / "repo" / "experiments" / "a.csv").write_text("here")
    assert find_file("a.csv", deep).read_text() == "here"
    with pytest.raises(ScenarioError, match="no file outside"):
        find_file("outside.csv", deep)


# ------------------------------------------------------------------ prefixes


def test_a_hit_is_a_leading_run_of_blocks_seen_before(write: Write) -> None:
    trace = read_trace(write(MOONCAKE))
    assert prefix_hits(trace).tolist() == [0, 1, 2]
    facts = describe(trace)
    assert facts["repeating_blocks"] == pytest.approx(3 / 8)
    assert facts["repeating_prompt_tokens"] == pytest.approx((512 + 1024) / (1030 + 512 + 1600))


def test_blocks_of_an_answer_are_hit_by_the_next_turn(write: Write) -> None:
    text = (
        "arrival_s,prompt_tokens,output_tokens,block_tokens,block_ids\n"
        "0,16,32,16,5 6 7\n1,64,1,16,5 6 7 8\n"
    )
    assert prefix_hits(read_trace(write(text))).tolist() == [0, 3]


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12),
    st.sampled_from([1, 10**15]),
)
def test_ids_that_name_whole_prefixes_are_taken_and_hits_are_common_prefixes(
    contents: list[list[int]], spread: int
) -> None:
    ids: dict[tuple[int, ...], int] = {}
    rows, expected = [], []
    for number, content in enumerate(contents):
        prefixes = [tuple(content[: k + 1]) for k in range(len(content))]
        expected.append(sum(prefix in ids for prefix in prefixes))
        chain = [ids.setdefault(p, (len(ids) + 1) * spread) for p in prefixes]
        rows.append({"timestamp": number, "input_length": 16 * len(chain), "output_length": 1,
                     "hash_ids": chain})  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        reader = plugins.load(FOLDER, "mooncake")(block_tokens=16)
        assert prefix_hits(reader.read(path)).tolist() == expected


# ------------------------------------------------------------------ samples and recorded data


def test_the_samples_are_what_their_script_makes() -> None:
    made = runpy.run_path(str(ROOT / "traces" / "make_samples.py"))
    assert (ROOT / "traces" / "sample_azure.csv").read_text() == made["azure"]()
    assert (ROOT / "traces" / "sample_mooncake.jsonl").read_text() == made["mooncake"]()


def test_the_samples_are_in_the_spirit_of_the_originals() -> None:
    azure = describe(read_trace(ROOT / "traces" / "sample_azure.csv"))
    assert azure["count"] == 600
    assert azure["prompt_tokens"]["mean"] == pytest.approx(1155, rel=0.1)
    assert azure["output_tokens"]["mean"] == pytest.approx(211, rel=0.1)
    assert azure["output_tokens"]["max"] <= 1000
    assert 8 <= azure["rate_per_s"] <= 10
    mooncake = describe(read_trace(ROOT / "traces" / "sample_mooncake.jsonl"))
    assert mooncake["count"] == 400
    assert mooncake["prompt_tokens"]["mean"] == pytest.approx(12_000, rel=0.1)
    assert mooncake["output_tokens"]["mean"] == pytest.approx(343, rel=0.1)
    assert mooncake["repeating_blocks"] == pytest.approx(1 / 3, abs=0.05)
    assert 3 <= mooncake["rate_per_s"] <= 4


needs_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="the recorded traces are not in ../shared/data/traces"
)


@pytest.mark.data
@needs_data
def test_the_recorded_azure_hour() -> None:
    facts = describe(trace := read_trace(REAL / "azure_llm_2023_conv.csv.gz"))
    assert facts["count"] == 19_366
    assert round(facts["prompt_tokens"]["mean"]) == 1_155
    assert round(facts["output_tokens"]["mean"]) == 211
    assert facts["output_tokens"]["max"] == 1_000
    with gzip.open(REAL / "azure_llm_2023_conv.csv.gz", "rt") as lines:
        stamps = [line[11:27].split(":") for line in list(lines)[1:]]
    ticks = [int(h) * 36_000_000_000 + int(m) * 600_000_000 + int(s.replace(".", "").ljust(9, "0"))
             for h, m, s in stamps]  # fmt: skip
    assert np.abs(trace.arrival_s * 1e7 - (np.array(ticks) - ticks[0])).max() < 1e-4


@pytest.mark.data
@needs_data
def test_the_recorded_mooncake_hour() -> None:
    path = REAL / "mooncake_fast25_conversation.jsonl.gz"
    facts = describe(read_trace(path))
    assert facts["count"] == 12_031
    assert round(facts["prompt_tokens"]["mean"]) == 12_035
    assert round(facts["output_tokens"]["mean"]) == 343
    seen: set[int] = set()
    total = hit = 0
    with gzip.open(path, "rt") as lines:
        for line in lines:
            ids = json.loads(line)["hash_ids"]
            total += len(ids)
            hit += sum(i in seen for i in ids)
            seen.update(ids)
    assert facts["repeating_blocks"] == hit / total
    assert round(100 * facts["repeating_blocks"], 1) == 36.6
