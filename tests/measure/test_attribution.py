"""Where time went: against hand counts and against a run that keeps account second by second."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from miniature import NAN, Tables, aggregated, disaggregated, engine
from toy import Toy

from sim.errors import BrokenInvariant
from sim.measure.attribution import PARTS, Chain, attribute
from sim.measure.latency import Requests
from sim.measure.ledger import Ledger
from sim.measure.stays import Stays
from sim.record.run_folder import RunFolder


def attributed(run: RunFolder) -> pa.Table:
    requests, ledger = Requests.read(run), Ledger.read(run)
    return attribute(Chain.read(run, requests, ledger, Stays.read(run, ledger)))


def parts_of(table: pa.Table, request: int, whole: str) -> dict[str, float]:
    row = table.to_pylist()[request]
    return {p: row[f"{whole}_{p}"] for p in PARTS if row[f"{whole}_{p}"]}


def test_parts_of_an_aggregated_run_are_those_counted_by_hand(tmp_path: Path) -> None:
    table = attributed(aggregated().write(tmp_path))
    assert parts_of(table, 0, "ttft") == {
        "own_prefill_s": 0.75, "collective_s": 0.125, "host_s": 0.125,
    }  # fmt: skip
    assert parts_of(table, 0, "e2e") == {
        "own_prefill_s": 0.75, "collective_s": 0.3125, "host_s": 0.375, "decode_s": 1.0625,
        "stall_s": 0.5,
    }  # fmt: skip
    assert parts_of(table, 1, "e2e") == {
        "queue_s": 0.75, "own_prefill_s": 0.4375, "batch_mates_s": 0.3125, "collective_s": 0.25,
        "host_s": 0.25, "decode_s": 0.75,
    }  # fmt: skip


def test_parts_of_a_handoff_are_those_counted_by_hand(tmp_path: Path) -> None:
    table = attributed(disaggregated().write(tmp_path))
    assert parts_of(table, 0, "e2e") == {
        "own_prefill_s": 0.75, "host_s": 0.375, "handoff_wait_s": 0.25, "transfer_s": 0.5,
        "contention_s": 0.375, "decode_queue_s": 0.25, "decode_s": 0.75,
    }  # fmt: skip


def test_a_first_token_shown_by_decode_has_the_handoff_in_its_ttft(tmp_path: Path) -> None:
    table = attributed(disaggregated("decode").write(tmp_path))
    ttft = parts_of(table, 0, "ttft")
    assert ttft["transfer_s"] == 0.5
    assert ttft["decode_s"] == 0.375  # one of the two steps of the run
    assert sum(ttft.values()) == 2.75


def test_chunks_in_several_slots_count_as_pipeline(tmp_path: Path) -> None:
    t = Tables([engine(0, slots=2)])
    t.step(0.0, engine=0, slot=0, first_step=0, prefill_tokens=32, prefills=1, linear_s=1.0)
    t.step(0.5, engine=0, slot=1, first_step=0, prefill_tokens=32, prefills=1, linear_s=0.75,
           pipeline_s=0.25, sampled=1)  # fmt: skip
    t.add("chunks", request=0, engine=0, slot=0, step=0, tokens=32, offset=0)
    t.add("chunks", request=0, engine=0, slot=1, step=0, tokens=32, offset=32)
    t.add("intervals", request=0, slot=1, stage="prefill", tokens=64, closed="finished",
          leave_s=1.5)  # fmt: skip
    t.add("requests", request=0, prompt_tokens=64, output_tokens=1, generated_tokens=1,
          first_token_s=1.5, end_s=1.5)  # fmt: skip
    parts = parts_of(attributed(t.write(tmp_path)), 0, "e2e")
    assert parts == {"own_prefill_s": 0.75, "pipeline_s": 0.75}


def test_a_stay_begins_with_its_first_chunk_in_the_slot_of_its_last(tmp_path: Path) -> None:
    t = Tables([engine(0, slots=2)])
    for step in range(9):  # earlier passes of slot 0, of nobody
        t.step(float(step), engine=0, slot=0, first_step=step, linear_s=1.0)
    t.step(9.0, engine=0, slot=0, first_step=9, prefill_tokens=8, prefills=1, linear_s=1.0)
    t.step(9.5, engine=0, slot=1, first_step=0, prefill_tokens=8, prefills=1, linear_s=1.0)
    t.step(10.5, engine=0, slot=1, first_step=1, prefill_tokens=8, prefills=1, linear_s=1.0)
    for slot, step, offset in ((0, 9, 0), (1, 0, 8), (1, 1, 16)):
        t.add("chunks", slot=slot, step=step, tokens=8, offset=offset)
    # as an engine counts that remembers the number of the first chunk's step in its own slot
    t.add("intervals", slot=1, stage="prefill", first_step=9, last_step=1, tokens=24,
          closed="finished")  # fmt: skip
    t.add("requests", arrival_s=9.0, prompt_tokens=24, output_tokens=1, generated_tokens=1,
          first_step_s=9.0, first_token_s=11.5, end_s=11.5)  # fmt: skip
    parts = parts_of(attributed(t.write(tmp_path)), 0, "e2e")
    assert parts == {"own_prefill_s": 2.0, "pipeline_s": 0.5}


def test_passes_of_prefill_only_between_decode_steps_are_a_stall(tmp_path: Path) -> None:
    t = Tables([engine(0, slots=2)])
    t.step(0.0, engine=0, slot=1, first_step=0, prefill_tokens=32, prefills=1, linear_s=1.0)
    t.step(1.0, engine=0, slot=0, first_step=0, decodes=1, linear_s=0.5)
    t.step(2.5, engine=0, slot=0, first_step=1, decodes=1, linear_s=0.5, gap_s=1.0,
           prefill_gap_s=0.75)  # fmt: skip
    t.add("chunks", request=0, slot=1, tokens=32)
    t.add("intervals", request=0, slot=1, stage="prefill", tokens=32, closed="decoding")
    t.add("intervals", request=0, stage="decode", last_step=1, tokens=2, closed="finished")
    t.add("requests", request=0, prompt_tokens=32, output_tokens=3, generated_tokens=3,
          first_token_s=1.0, end_s=3.0)  # fmt: skip
    parts = parts_of(attributed(t.write(tmp_path)), 0, "e2e")
    assert parts == {"own_prefill_s": 1.0, "decode_s": 1.0, "stall_s": 0.75, "pipeline_s": 0.25}


@pytest.mark.parametrize("pools", ("aggregated", "disaggregated"))
@pytest.mark.parametrize("first_token", ("prefill", "decode", "made_by_decode"))
def test_parts_are_those_of_an_account_kept_second_by_second(
    tmp_path: Path, pools: str, first_token: str
) -> None:
    preemptions = 0
    for seed in range(25):
        toy = Toy(seed, pools=pools, ranks=1 + seed % 2, first_token=first_token)
        table = attributed(toy.play(tmp_path)).to_pydict()
        for s in toy.seqs:
            preemptions += s.preemptions
            for part in PARTS:
                e2e = table[f"e2e_{part}"][s.number]
                assert e2e == pytest.approx(s.parts.get(part, 0.0), abs=1e-9), part
                if first_token == "prefill":
                    ttft = table[f"ttft_{part}"][s.number]
                    assert ttft == pytest.approx(s.parts_of_ttft.get(part, 0.0), abs=1e-9), part
    assert preemptions > 10


def test_seconds_that_are_nowhere_are_found(tmp_path: Path) -> None:
    tables = aggregated()
    tables.rows["steps"][1]["collective_s"] -= 1e-8
    with pytest.raises(BrokenInvariant, match=r"request 1: the parts of its ttft.*1e-08 s"):
        attributed(tables.write(tmp_path))


def test_a_stay_that_ends_inside_a_run_of_steps_is_found(tmp_path: Path) -> None:
    tables = aggregated()
    tables.rows["intervals"][3]["last_step"] = 2
    with pytest.raises(BrokenInvariant, match=r"request 1: its stay .* bounds"):
        attributed(tables.write(tmp_path))


def test_nothing_finished_gives_an_empty_table(tmp_path: Path) -> None:
    t = Tables([engine(0)])
    t.add("requests", request=0, state="unfinished", output_tokens=5, first_step_s=NAN,
          first_token_s=NAN, end_s=1.0)  # fmt: skip
    table = attributed(t.write(tmp_path))
    assert table.num_rows == 0
    assert np.isin([f"e2e_{p}" for p in PARTS], table.column_names).all()
