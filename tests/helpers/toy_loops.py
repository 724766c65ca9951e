"""Loops made by arithmetic: consistent tables of a reinforcement-learning run, nothing simulated.

Every token takes `token_s`, whatever runs beside it; an engine's steps are told in pieces of equal
length. Synchronous loops take turns on the same GPUs; with a staleness, batches are made ahead of
the trainer, who takes the samples that are scored first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.record.log import Log
from sim.record.run_folder import RunFolder
from sim.record.tables import ACTORS, PHASES, SAMPLE_STATES, TABLES

NAN = float("nan")
TRAINED, FILTERED, STALE, ABORTED, IN_FLIGHT = range(len(SAMPLE_STATES))
Column = NDArray[Any]


@dataclass
class ToyLoop:
    """A loop, its books, and the run folder of it."""

    steps: int = 6
    prompts: int = 8
    per_prompt: int = 4
    staleness: int = 0
    """0 is a synchronous, colocated loop; above it, batches made ahead on other GPUs."""
    engines: int = 4
    token_s: float = 0.01
    train_s: float = 5.0
    sync_s: float = 0.5
    drop: float = 0.1
    """Share of groups that the filter drops; as many groups are submitted more."""
    mean_tokens: float = 400.0
    sigma: float = 1.0
    seed: int = 1
    pieces: int = 24
    """Rows of `steps` per engine and loop step."""
    facts: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Column] = field(default_factory=dict)
    rows: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def play(self) -> ToyLoop:
        """Make the rows."""
        self.random = np.random.default_rng(self.seed)
        self.rows = {"rl_steps": [], "rl_phases": []}
        self.batches: list[dict[str, Column]] = []
        self.ends: list[float] = []
        self.done: list[dict[str, Column]] = []
        self.begun = 0
        for _ in range(self.staleness + 1):
            self.submit(0.0)
        self.pending = self.batches[0]
        for batch in self.batches[1:]:
            self.join(batch)
        now = 0.0
        for step in range(self.steps):
            now = self.step(step, now)
            if step + 1 < self.steps or self.staleness:
                self.join(self.submit(now))
        self.settle()
        return self

    def write(self, folder: Path) -> RunFolder:
        """The run folder with these tables; no requests, as if someone else had served them."""
        if not self.samples:
            self.play()
        run = RunFolder.create(folder)
        log = Log(run.path, rl=True)
        log.writers["samples"].write(self.samples)
        for name, rows in self.rows.items():
            table = TABLES[name]
            log.writers[name].write(
                {c.name: np.array([r.get(c.name, 0.0) for r in rows]) for c in table.all_columns}
            )
        log.writers["steps"].write(self.engine_steps())
        log.close()
        run.write_json("run.json", self.run_facts())
        run.write_json("topology.json", {"nodes": [], "links": [], "devices": []})
        run.write_text("scenario.yaml", "name: toy loop\n")
        return run

    def run_facts(self) -> dict[str, Any]:
        """run.json."""
        engines = [
            {"engine": e, "name": f"rollout-{e}", "pool": "rollout", "role": "both", "gpu": "H100",
             "gpus": 2, "devices": [2 * e, 2 * e + 1], "layout": "tp2", "ranks": 1, "slots": 1,
             "kv_blocks": 1000, "block_tokens": 16, "max_num_seqs": 64}
            for e in range(self.engines)
        ]  # fmt: skip
        apart = self.staleness > 0
        loop = {
            "rollout_gpus": 2 * self.engines, "trainer_gpus": self.engines if apart else
            2 * self.engines, "colocated": not apart, "prompts_per_step": self.prompts,
            "cadence": "asynchronous" if apart else "synchronous",
            "samples_per_prompt": self.per_prompt, "steps": self.steps, "epochs": 1,
            "generated": self.begun,
        }  # fmt: skip
        return {
            "name": "toy loop", "seed": self.seed, "versions": {"sim": "0"}, "partial": False,
            "until_s": None, "simulated_s": self.rows["rl_steps"][-1]["end_s"], "fabric": "flows",
            "engines": engines, "slo": None, "window": "all", "rl": loop | self.facts,
        }  # fmt: skip

    def submit(self, now: float) -> dict[str, Column]:
        """Begin a batch of groups; some more than are needed, for those that are dropped."""
        groups = self.prompts + (max(1, round(self.prompts * self.drop)) if self.drop else 0)
        count = groups * self.per_prompt
        r = self.random
        scale = self.mean_tokens / np.exp(self.sigma**2 / 2)
        lengths = np.ceil(scale * np.exp(self.sigma * r.standard_normal(count))).astype(np.int64)
        generated = now + lengths * self.token_s
        batch = {
            "sample": self.begun + np.arange(count),
            "index": np.arange(count) % self.per_prompt,
            "prompt": (self.begun + np.arange(count)) // self.per_prompt,
            "prompt_tokens": r.integers(50, 400, count),
            "response_tokens": lengths,
            "submitted_s": np.full(count, now),
            "generated_s": generated,
            "scored_s": generated + r.uniform(0.05, 0.4, count),
            "first_version": np.full(count, len(self.ends)),
        }
        dropped = r.random(groups) < self.drop
        batch["fate"] = np.repeat(np.where(dropped, FILTERED, TRAINED), self.per_prompt)
        batch |= {"state": np.full(count, IN_FLIGHT), "step": np.full(count, -1)}
        self.begun += count
        self.batches.append(batch)
        return batch

    def join(self, batch: dict[str, Column]) -> None:
        """Put a batch among those that the trainer may take from."""
        self.pending = {k: np.concatenate([v, batch[k]]) for k, v in self.pending.items()}

    def step(self, step: int, start: float) -> float:
        """One step of the trainer, with its rows; gives its end."""
        p, need = self.pending, self.prompts * self.per_prompt
        late = p["first_version"] < step - self.staleness
        p["state"][late & (p["fate"] == TRAINED)] = STALE
        order = np.lexsort((p["sample"], p["scored_s"]))
        usable = order[(p["fate"][order] == TRAINED) & (p["state"][order] == IN_FLIGHT)]
        taken = usable[:need]
        p["state"][taken], p["step"][taken] = TRAINED, step
        ready = float(p["scored_s"][taken].max())
        made = float(p["generated_s"][taken].max())
        dropped = (p["fate"] == FILTERED) & (p["scored_s"] <= ready)
        p["state"][dropped] = FILTERED
        if not self.staleness:
            rest = p["state"] == IN_FLIGHT
            p["state"][rest] = ABORTED
            cut = rest & (p["generated_s"] > ready)
            p["response_tokens"][cut] = np.maximum(
                (ready - start) / self.token_s, 1
            ).astype(np.int64)  # fmt: skip
            p["generated_s"][cut], p["scored_s"][rest] = ready, NAN
        end = self.phases(step, start, made, ready)
        self.book(step, start, end, made, ready, taken)
        self.ends.append(end)
        gone = p["state"] != IN_FLIGHT
        self.done.append({k: v[gone] for k, v in p.items()})
        self.pending = {k: v[~gone] for k, v in p.items()}
        return end

    def phases(self, step: int, start: float, made: float, ready: float) -> float:
        """Rows of `rl_phases`; gives the end of the step."""
        begin = max(start, ready)
        spans = [("trainer", "wait", start, begin)] if begin > start else []
        now = begin
        reshard, logprob = 0.0 if self.staleness else 0.3, 0.25 * self.train_s
        for phase, length in (("prepare", 0.2), ("reshard", reshard), ("logprob", logprob),
                              ("train", self.train_s)):  # fmt: skip
            spans.append(("trainer", phase, now, now + length))
            now += length
        spans.append(("weight_sync", "sync", now, now + self.sync_s))
        if self.staleness:
            spans.append(("rollout", "generation", start, now))
        else:
            spans += [("rollout", "generation", start, made), ("reward", "reward", made, ready)]
        self.rows["rl_phases"] += [
            {"actor": ACTORS.index(a), "phase": PHASES.index(p), "step": step, "start_s": s,
             "end_s": e} for a, p, s, e in spans if e > s
        ]  # fmt: skip
        return now + self.sync_s

    def book(
        self, step: int, start: float, end: float, made: float, ready: float, taken: Column
    ) -> None:
        """The row of `rl_steps`."""
        p, n = self.pending, len(taken)
        lag = self.lags(step, taken)
        tokens = p["response_tokens"][taken]
        wait = max(ready - start, 0.0)
        exposed = min(max(made - start, 0.0), wait)
        counts = np.bincount(p["state"], minlength=len(SAMPLE_STATES))
        train, logprob = self.train_s, 0.25 * self.train_s
        self.rows["rl_steps"].append({
            "step": step, "version": step, "start_s": start, "end_s": end,
            "generation_s": made - float(p["submitted_s"][taken].min()),
            "exposed_generation_s": exposed, "exposed_reward_s": wait - exposed, "wait_s": wait,
            "prepare_s": 0.2, "reshard_s": 0.0 if self.staleness else 0.3, "logprob_s": logprob,
            "train_s": train, "sync_s": self.sync_s, "samples": n,
            "prompts": len(np.unique(p["prompt"][taken])),
            "prompt_tokens": p["prompt_tokens"][taken].sum(), "response_tokens": tokens.sum(),
            "longest_tokens": tokens.max(), "staleness": (lag * tokens).sum() / tokens.sum(),
            "staleness_max": int(step - p["first_version"][taken].min()), "bubble": 0.1,
            "mfu": 0.4, "sync_bytes": 1e10, "filtered": counts[FILTERED], "stale": counts[STALE],
            "aborted": counts[ABORTED], "in_flight": counts[IN_FLIGHT],
        })  # fmt: skip

    def lags(self, step: int, rows: Column) -> Column:
        """Mean over its tokens of the trained version less the version that made them; tokens are
        made evenly from submission to the last one, and versions change at the ends of steps."""
        p, ends = self.pending, np.array(self.ends)
        return step - self.mean_version(
            p["first_version"][rows], p["submitted_s"][rows], p["generated_s"][rows], ends
        )

    def mean_version(self, first: Column, begin: Column, end: Column, ends: Column) -> Column:
        sums = np.concatenate([[0.0], np.cumsum(ends)])
        low, high = (np.searchsorted(ends, t, side="right") for t in (begin, end))
        later = (high - low) * end - (sums[high] - sums[low])
        return np.asarray(first + later / (end - begin))

    def settle(self) -> None:
        """Put the samples together."""
        every = [*self.done, self.pending]
        s = {k: np.concatenate([b[k] for b in every]) for k in every[-1]}
        end = self.ends[-1]
        late = s["generated_s"] > end
        s["response_tokens"][late] = ((end - s["submitted_s"][late]) / self.token_s).astype(int)
        s["generated_s"][late] = np.where(s["response_tokens"][late] > 0, end, NAN)
        s["scored_s"][late | (s["scored_s"] > end)] = NAN
        order = np.argsort(s["sample"])
        s = {k: v[order] for k, v in s.items()}
        trained, ends = s["state"] == TRAINED, np.array(self.ends)
        last = np.searchsorted(ends, np.nan_to_num(s["generated_s"], nan=0.0), side="right")
        last = np.maximum(last, s["first_version"])
        begin, stop = s["submitted_s"], np.fmax(s["generated_s"], s["submitted_s"] + 1e-9)
        lag = s["step"] - self.mean_version(s["first_version"], begin, stop, ends)
        one = np.ones(len(last), dtype=np.int64)
        self.samples = {c.name: s.get(c.name, 0 * one) for c in TABLES["samples"].columns} | {
            "request": s["sample"], "turns": one, "uses": trained.astype(np.int64),
            "reward_s": s["scored_s"] - s["generated_s"], "last_version": last,
            "staleness": np.where(trained, lag, NAN),
            "staleness_max": np.where(trained, s["step"] - s["first_version"], -1),
            "interruptions": last - s["first_version"],
        }  # fmt: skip

    def engine_steps(self) -> dict[str, Column]:
        """Rows of `steps`: each engine in pieces of equal length, where something runs."""
        end = self.ends[-1]
        edges = np.linspace(0.0, end, self.steps * self.pieces + 1)
        middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        s = self.samples
        known = ~np.isnan(s["generated_s"])
        parts = []
        for e in range(self.engines):
            mine = known & (s["sample"] % self.engines == e)
            starts, stops = np.sort(s["submitted_s"][mine]), np.sort(s["generated_s"][mine])
            running = np.searchsorted(starts, middles) - np.searchsorted(stops, middles)
            some = running > 0
            parts.append((np.full(some.sum(), e), edges[:-1][some], running[some]))
        engine, start, running = (np.concatenate(x) for x in zip(*parts, strict=True))
        n = max(round(width / self.token_s), 1)
        rows = {c.name: np.zeros(len(start)) for c in TABLES["steps"].all_columns}
        position = np.arange(len(start)) - np.searchsorted(engine, engine)
        return rows | {
            "engine": engine, "start_s": start, "end_s": start + width, "n": np.full(len(start), n),
            "linear_s": np.full(len(start), width), "decodes": running, "sampled": running,
            "first_step": n * position, "used_blocks": np.minimum(running * 4, 1000),
        }  # fmt: skip
