"""Runs made by hand: rows in, a run folder out; nothing is simulated here."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sim.record.log import Log
from sim.record.run_folder import RunFolder
from sim.record.tables import NONE, TABLES

NAN = float("nan")


def engine(number: int, pool: str = "all", role: str = "both", **more: Any) -> dict[str, Any]:
    """An entry of run.json's `engines`."""
    facts = {
        "engine": number, "name": f"{pool}-{number}", "pool": pool, "role": role, "gpu": "H100",
        "gpus": 2, "devices": [2 * number, 2 * number + 1], "layout": "tp2", "ranks": 1,
        "slots": 1, "kv_blocks": 100, "block_tokens": 16, "max_num_seqs": 8,
        "max_num_batched_tokens": 512,
    }  # fmt: skip
    return facts | more


@dataclass
class Tables:
    """Rows of a run, by table; a row names its columns, the rest is zero."""

    engines: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, table: str, **row: Any) -> None:
        """Append a row; labels of codes are written as text."""
        columns = {c.name: c for c in TABLES[table].all_columns}
        full: dict[str, float] = {}
        for name, column in columns.items():
            value = row.pop(name, column.labels[0] if column.labels else 0)
            full[name] = column.labels.index(value) if column.labels else value
        assert not row, f"{table} has no column {row}"
        self.rows[table].append(full)

    def step(self, start_s: float, **row: Any) -> float:
        """Append a row of `steps` whose end is the sum of its seconds, and its clock (steps of one
        length); returns the end."""
        causes = ("linear_s", "attention_s", "experts_s", "collective_s", "host_s", "rank_wait_s",
                  "pipeline_s", "contention_s")  # fmt: skip
        n = row.setdefault("n", 1)
        whole = sum(row.get(c, 0.0) for c in causes)
        end_s = start_s + whole
        self.add("steps", start_s=start_s, end_s=end_s, **row)
        for i in range(n if row.get("rank", 0) == 0 else 0):
            at = end_s if i == n - 1 else start_s + (i + 1) * (whole / n)
            self.add("clock", engine=row["engine"], slot=row.get("slot", 0),
                     step=row["first_step"] + i, end_s=at)  # fmt: skip
        return end_s

    def write(self, folder: Path) -> RunFolder:
        """The run folder with these tables."""
        run = RunFolder.create(folder)
        log = Log(run.path, rl="rl" in self.facts)
        for name, rows in self.rows.items():
            columns = {c.name: np.array([r[c.name] for r in rows], dtype=np.float64)
                       for c in TABLES[name].all_columns}  # fmt: skip
            log.writers[name].write(columns)
        log.close()
        ends = [r["end_s"] for r in self.rows["requests"]] or [0.0]
        facts = {
            "name": "miniature", "seed": 1, "versions": {"sim": "0"}, "partial": False,
            "until_s": None, "simulated_s": max(ends), "fabric": "flows",
            "engines": self.engines, "slo": None, "window": "all",
        }  # fmt: skip
        run.write_json("run.json", facts | self.facts)
        run.write_json("topology.json", topology(self.engines))
        run.write_json("assumptions.json", [
            {"what": "nic_bytes_per_s", "value": 50e9, "source": "assumed: <half> of the peak"}
        ])  # fmt: skip
        run.write_json("workload.json", {"kind": "by hand", "requests": len(ends)})
        run.write_text("scenario.yaml", "name: miniature\nnote: '<script>alert(1)</script>'\n")
        return run


def topology(engines: list[dict[str, Any]]) -> dict[str, Any]:
    """One node per engine around a switch, a link each way."""
    nodes = [{"name": "leaf", "kind": "switch", "x": 0.5, "y": 1.0}]
    links = []
    for i in range(len(engines)):
        nodes.append({"name": f"host{i}", "kind": "host", "x": float(i), "y": 0.0})
        for src, dst in ((f"host{i}", "leaf"), ("leaf", f"host{i}")):
            links.append({"index": len(links), "name": f"{src}->{dst}", "src": src, "dst": dst,
                          "kind": "nic", "capacity_bytes_per_s": 50e9})  # fmt: skip
    devices = [{"index": d, "node": f"host{i}"} for i, e in enumerate(engines)
               for d in e["devices"]]  # fmt: skip
    return {"name": "miniature", "nodes": nodes, "links": links, "devices": devices}


def aggregated() -> Tables:
    """One engine, three requests; all seconds are multiples of 1/64, so that sums are exact.

    Request 0 (prompt 100, 4 tokens) arrives at 0, starts at once; request 1 (prompt 60, 20 of it
    cached, 3 tokens) arrives at 0.25 and is computed in one step with 0's decode; request 2 is
    rejected at 0.5.

        step 0   0.0  … 1.0    prefill 100 of request 0                     first token of 0
        step 1   1.0  … 2.0    prefill 40 of request 1, decode 0            first token of 1
        steps 2-3  2.0 … 3.0   decode 0 and 1 (n = 2)                       both finish at 3.0
    """
    t = Tables([engine(0)], {"slo": {"ttft_s": 1.5, "tpot_s": None, "e2e_s": 10.0}})
    t.step(0.0, engine=0, first_step=0, prefill_tokens=100, prefills=1, sampled=1, used_blocks=10,
           linear_s=0.5, attention_s=0.125, experts_s=0.125, collective_s=0.125,
           host_s=0.125)  # fmt: skip
    t.step(1.0, engine=0, first_step=1, prefill_tokens=40, prefills=1, decodes=1, sampled=2,
           used_blocks=20, waiting=0, linear_s=0.5, attention_s=0.25, collective_s=0.125,
           host_s=0.125, decode_alone_s=0.5, decode_alone_collective_s=0.0625)  # fmt: skip
    t.step(2.0, engine=0, first_step=2, n=2, decodes=2, sampled=2, used_blocks=20, linear_s=0.5,
           attention_s=0.25, collective_s=0.125, host_s=0.125, decode_alone_s=1.0,
           decode_alone_collective_s=0.125)  # fmt: skip
    t.add("chunks", request=0, engine=0, step=0, tokens=100, offset=0)
    t.add("chunks", request=1, engine=0, step=1, tokens=40, offset=20)
    _stay(t, 0, 0, "prefill", 0.0, 0, 0, 100, "decoding", 1.0)
    _stay(t, 0, 0, "decode", 1.0, 1, 3, 3, "finished", 3.0)
    _stay(t, 1, 0, "prefill", 0.25, 1, 1, 40, "decoding", 2.0, cached_tokens=20)
    _stay(t, 1, 0, "decode", 2.0, 2, 3, 2, "finished", 3.0)
    t.add("requests", request=0, arrival_s=0.0, prompt_tokens=100, output_tokens=4,
          generated_tokens=4, first_step_s=0.0, first_token_s=1.0, end_s=3.0)  # fmt: skip
    t.add("requests", request=1, arrival_s=0.25, prompt_tokens=60, output_tokens=3,
          generated_tokens=3, first_step_s=1.0, first_token_s=2.0, end_s=3.0,
          cached_tokens=20)  # fmt: skip
    t.add("requests", request=2, arrival_s=0.5, prompt_tokens=9999, output_tokens=3,
          state="rejected", reason="context", first_step_s=NAN, first_token_s=NAN, end_s=0.5,
          prefill_engine=NONE, decode_engine=NONE)  # fmt: skip
    t.add("engines", engine=0, time_s=0.0, state="running")
    return t


def disaggregated(first_token: str = "prefill") -> Tables:
    """A prefill and a decode engine, one request of prompt 64 and 3 tokens.

    0.5   arrival;  0.5 … 1.5 prefill in engine 0 (one step)
    1.5   asks for room, has it at 1.75, bytes flow 1.75 … 2.5 (0.5 if alone)
    2.75  first decode step of engine 1; steps 0 and 1 (n = 2) end at 3.25 and 3.75
    """
    t = Tables([engine(0, "prefill", "prefill"), engine(1, "decode", "decode", gpus=4)])
    t.step(0.5, engine=0, first_step=0, prefill_tokens=64, prefills=1, sampled=1, used_blocks=4,
           linear_s=0.75, host_s=0.25)  # fmt: skip
    t.step(2.75, engine=1, first_step=0, n=2, decodes=1, sampled=1, used_blocks=5, linear_s=0.75,
           host_s=0.125, contention_s=0.125, decode_alone_s=0.875)  # fmt: skip
    t.add("chunks", request=0, engine=0, step=0, tokens=64, offset=0)
    _stay(t, 0, 0, "prefill", 0.5, 0, 0, 64, "handed_off", 2.5)
    _stay(t, 0, 1, "decode", 2.5, 0, 1, 2, "finished", 3.75)
    t.add("transfers", request=0, src_engine=0, dst_engine=1, bytes=25e9, asked_s=1.5,
          reserved_s=1.75, start_s=1.75, ready_s=1.5, end_s=2.5, alone_s=0.5,
          bottleneck_bytes_per_s=50e9)  # fmt: skip
    for link in (0, 3):
        t.add("links", link=link, bin_s=1.0, bytes=25e9 / 3, busy_s=0.25)
        t.add("links", link=link, bin_s=2.0, bytes=50e9 / 3, busy_s=0.5)
    t.add("requests", request=0, arrival_s=0.5, prompt_tokens=64, output_tokens=3,
          generated_tokens=3, first_step_s=0.5,
          first_token_s=1.5 if first_token == "prefill" else 3.25, end_s=3.75,
          decode_engine=1)  # fmt: skip
    for e in (0, 1):
        t.add("engines", engine=e, time_s=0.0, state="running")
    return t


def _stay(
    t: Tables, request: int, engine: int, stage: str, enter_s: float, first_step: int,
    last_step: int, tokens: int, closed: str, leave_s: float, **more: Any,
) -> None:  # fmt: skip
    t.add("intervals", request=request, engine=engine, stage=stage, enter_s=enter_s,
          first_step=first_step, last_step=last_step, tokens=tokens, closed=closed,
          leave_s=leave_s, **more)  # fmt: skip


def loop() -> Tables:
    """One rollout engine and a trainer apart, two GPUs each; two steps of two samples.

        trainer   0 … 4 waits (tokens until 3, rewards until 4), 4 … 7 trains, 7 … 8 sync
                  8 … 10 waits for tokens, 10 … 13 trains, 13 … 14 sync
        engine    runs 0 … 3, 4 … 10 and 12 … 14

    Sample 2 made 20 tokens under version 0 and 40 under version 1; sample 4 is filtered, 5 is in
    flight at the end.
    """
    t = Tables([engine(0, "rollout")], {"simulated_s": 14.0, "rl": {
        "rollout_gpus": 2, "trainer_gpus": 2, "colocated": False, "cadence": "asynchronous",
        "prompts_per_step": 2, "samples_per_prompt": 1, "steps": 2, "epochs": 1, "generated": 6,
    }})  # fmt: skip
    common = {"train_s": 3.0, "sync_s": 1.0, "samples": 2, "prompts": 2, "prompt_tokens": 20,
              "bubble": 0.25, "mfu": 0.5}  # fmt: skip
    t.add("rl_steps", step=0, version=0, start_s=0.0, end_s=8.0, generation_s=3.0,
          exposed_generation_s=3.0, exposed_reward_s=1.0, wait_s=4.0, response_tokens=40,
          longest_tokens=30, filtered=1, in_flight=2, **common)  # fmt: skip
    t.add("rl_steps", step=1, version=1, start_s=8.0, end_s=14.0, generation_s=7.0,
          exposed_generation_s=2.0, wait_s=2.0, response_tokens=80, longest_tokens=60,
          staleness=0.25, staleness_max=1, in_flight=1, **common)  # fmt: skip
    for actor, phase, step, start_s, end_s in (
        ("trainer", "wait", 0, 0, 4), ("trainer", "train", 0, 4, 7), ("trainer", "wait", 1, 8, 10),
        ("trainer", "train", 1, 10, 13), ("weight_sync", "sync", 0, 7, 8),
        ("weight_sync", "sync", 1, 13, 14), ("reward", "reward", 0, 3, 4),
        ("rollout", "generation", 0, 0, 3), ("rollout", "generation", 1, 3, 14),
    ):  # fmt: skip
        t.add("rl_phases", actor=actor, phase=phase, step=step, start_s=start_s, end_s=end_s)
    trained = {"state": "trained", "uses": 1, "turns": 1, "prompt_tokens": 10}
    gone = {"step": -1, "staleness": NAN, "staleness_max": -1, "turns": 1, "prompt_tokens": 10}
    t.add("samples", sample=0, response_tokens=10, submitted_s=0, generated_s=2, scored_s=2.5,
          **trained)  # fmt: skip
    t.add("samples", sample=1, prompt=1, response_tokens=30, submitted_s=0, generated_s=3,
          scored_s=4, reward_s=1, **trained)  # fmt: skip
    t.add("samples", sample=2, prompt=2, response_tokens=60, submitted_s=3, generated_s=10,
          scored_s=10, step=1, last_version=1, staleness=1 / 3, staleness_max=1, interruptions=1,
          **trained)  # fmt: skip
    t.add("samples", sample=3, prompt=3, response_tokens=20, submitted_s=8, generated_s=9,
          scored_s=9.5, step=1, first_version=1, last_version=1, **trained)  # fmt: skip
    t.add("samples", sample=4, prompt=4, response_tokens=20, submitted_s=3, generated_s=5,
          scored_s=6, state="filtered", **gone)  # fmt: skip
    t.add("samples", sample=5, prompt=5, submitted_s=9, generated_s=NAN, scored_s=NAN,
          state="in_flight", first_version=1, last_version=1, **gone)  # fmt: skip
    for first, start_s, length, running in ((0, 0.0, 3.0, 2), (1, 4.0, 6.0, 2), (2, 12.0, 2.0, 1)):
        t.step(start_s, engine=0, first_step=first, linear_s=length, decodes=running,
               sampled=10 * running)  # fmt: skip
    return t
