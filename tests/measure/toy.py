"""Random runs with everything written out: tables as the simulation logs them, and beside them the
truth token by token and second by second, for comparing what is measured with what was made."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from miniature import NAN, Tables, engine

from sim.record.run_folder import RunFolder
from sim.record.tables import NONE

COST = ("linear_s", "attention_s", "experts_s", "collective_s", "host_s", "contention_s")


SHARED = ("host_s", "contention_s")


class Alone:
    """The parts of a rank's step that its decodes would take without any prefill."""

    def __init__(self, cost: dict[str, float], compute: float, collective: float) -> None:
        self.collective_s = collective * cost["collective_s"]
        whole = sum(cost[c] for c in ("linear_s", "attention_s", "experts_s"))
        self.whole_s = compute * whole + self.collective_s + cost["host_s"]


@dataclass
class Price:
    """A step of one rank, with its seconds."""

    engine: int
    rank: int
    step: int
    start_s: float
    end_s: float
    cost: dict[str, float]
    alone_s: float
    alone_collective_s: float
    mixed: bool

    @property
    def compute_s(self) -> float:
        return sum(self.cost[c] for c in ("linear_s", "attention_s", "experts_s"))


@dataclass(eq=False)
class Seq:
    """A request on its way, with its true token times and parts."""

    number: int
    arrival_s: float
    prompt: int
    output: int
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    parts_of_ttft: dict[str, float] = field(default_factory=dict)
    starved: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Parts of steps of its stay without a share, until it has one again."""
    tokens: list[float] = field(default_factory=list)
    done: int = 0
    """Tokens in the KV cache."""
    goal: int = 0
    """Tokens to have there before it decodes."""
    lost: int = 0
    """Tokens that it had before it was preempted in mid-prompt."""
    again: bool = False
    left_s: float = 0.0
    """When it last left a step."""
    stay: dict[str, Any] | None = None
    first_step_s: float = NAN
    preemptions: int = 0
    recomputed: int = 0
    engines: list[int] = field(default_factory=list)


class Toy:
    """`pools` is "aggregated" or "disaggregated"; `first_token` is "prefill", "decode" (made by
    prefill, shown with the first decode step) or "made_by_decode"."""

    def __init__(
        self, seed: int, *, pools: str, ranks: int, first_token: str, requests: int = 0
    ) -> None:
        self.random = Random(seed)
        requests = requests or self.random.randint(1, 7)
        self.ranks, self.first_token = ranks, first_token
        self.split = pools == "disaggregated"
        roles = ("prefill", "decode") if self.split else ("both",)
        self.t = Tables([engine(i, r, r, ranks=ranks) for i, r in enumerate(roles)])
        self.seqs = [
            Seq(i, i * self.random.uniform(0, 0.4), self.random.randint(1, 90),
                self.random.randint(1, 12)) for i in range(requests)
        ]  # fmt: skip
        self.seqs.sort(key=lambda s: s.arrival_s)
        for i, s in enumerate(self.seqs):
            s.number = i

    def play(self, folder: Path) -> RunFolder:
        """Play it and write the tables."""
        coming = []
        for s in self.seqs:
            s.goal, s.left_s = s.prompt, s.arrival_s
            coming.append((s.arrival_s, s))
        handed = self.engine(0, coming)
        if self.split:
            self.engine(1, sorted((self.handoff(s) for s in handed), key=lambda x: x[0]))
        for s in self.seqs:
            self.request(s)
        return self.t.write(folder)

    def handoff(self, s: Seq) -> tuple[float, Seq]:
        r = self.random
        start = s.left_s + r.choice([0.0, r.random()])
        alone, extra = r.random(), r.choice([0.0, r.random()])
        end = start + alone + extra
        self.t.add("transfers", transfer=s.number, request=s.number, src_engine=0, dst_engine=1,
                   bytes=1e9, asked_s=s.left_s, reserved_s=start, start_s=start,
                   ready_s=s.left_s, end_s=end, alone_s=alone,
                   bottleneck_bytes_per_s=1e9)  # fmt: skip
        s.parts["handoff_wait_s"] += start - s.left_s
        s.parts["transfer_s"] += alone
        s.parts["contention_s"] += end - start - alone
        s.left_s = end
        return end, s

    def request(self, s: Seq) -> None:
        visible = s.tokens[0]
        if self.first_token == "decode" and self.split and len(s.tokens) > 1:
            visible = s.tokens[0] = s.tokens[1]
        self.t.add("requests", request=s.number, arrival_s=s.arrival_s, prompt_tokens=s.prompt,
                   output_tokens=s.output, generated_tokens=s.output,
                   first_step_s=s.first_step_s, first_token_s=visible, end_s=s.tokens[-1],
                   preemptions=s.preemptions, recomputed_tokens=s.recomputed,
                   prefill_engine=s.engines[0] if s.engines else NONE,
                   decode_engine=s.engines[-1])  # fmt: skip

    def engine(self, e: int, coming: list[tuple[float, Seq]]) -> list[Seq]:
        """The loop of one engine: decide, wait, commit; rows of runs are merged at the end."""
        now, step, handed = 0.0, 0, []
        waiting: list[list[Seq]] = [[] for _ in range(self.ranks)]
        running: list[list[Seq]] = [[] for _ in range(self.ranks)]
        rows: list[dict[str, Any]] = []
        changed = True
        while coming or any(waiting) or any(running):
            if not any(waiting) and not any(running):
                now, changed = max(now, coming[0][0]), True
            while coming and coming[0][0] <= now:
                s = coming.pop(0)[1]
                rank = self.random.randrange(self.ranks)
                (running if s.done >= s.goal else waiting)[rank].append(s)
                changed = True
            changed |= self.preempt(e, running, waiting)
            plan = [self.chunks(waiting[r], running[r]) for r in range(self.ranks)]
            now_end, new = self.step(e, step, now, plan, running, waiting)
            changed |= any(plan)
            self.keep(rows, new, changed)
            changed = any(plan)
            for r in range(self.ranks):
                for s in list(running[r]):
                    self.token(s, now_end)
                    s.left_s, s.stay["last_step"] = now_end, step
                    s.stay["tokens"] += 1
                    changed |= self.leave(s, running[r], now_end)
                for s, tokens in plan[r]:
                    s.done += tokens
                    s.left_s, s.stay["last_step"] = now_end, step
                    s.stay["tokens"] += tokens
                    if s.done == s.goal:
                        waiting[r].remove(s)
                        self.prompt_done(e, s, running[r], handed, now_end)
            now, step = now_end, step + 1
        for row in rows:
            self.t.add("steps", **row)
        return handed

    def preempt(self, e: int, running: list[list[Seq]], waiting: list[list[Seq]]) -> bool:
        """Now and then the last of a rank's sequences is sent back to wait."""
        r = self.random.randrange(self.ranks)
        if self.random.random() > 0.1:
            return False
        half = [s for s in waiting[r] if s.stay is not None]
        if not running[r] and not half:
            return False
        s = running[r].pop() if running[r] else half[-1]
        if s.stay is None:  # handed over, and not yet decoded
            running[r].append(s)
            return False
        decoding = s.stay["stage"] == "decode"
        self.close(s, "preempted")
        if not decoding:
            waiting[r].remove(s)
            s.lost = max(s.lost, s.done)
        s.again = s.again or decoding
        s.recomputed += s.done if not decoding else s.prompt + len(s.tokens)
        s.preemptions += 1
        s.done, s.goal = 0, s.prompt + len(s.tokens)
        waiting[r].insert(0, s)
        return True

    def chunks(self, waiting: list[Seq], running: list[Seq]) -> list[tuple[Seq, int]]:
        left, plan = self.random.choice([8, 40, 64]), []
        for s in waiting:
            take = min(left, s.goal - s.done)
            if take:
                plan.append((s, take))
                left -= take
        return plan

    def step(self, e: int, step: int, now: float, plan: list[Any], running: list[list[Seq]],
             waiting: list[list[Seq]]) -> Any:  # fmt: skip
        """Price and log one step of all ranks; gives its end and its rows."""
        r = self.random
        costs = [{c: r.choice([0.0, r.random() * 0.1]) + 1e-4 for c in COST} for _ in running]
        for cost in costs:
            cost["contention_s"] = costs[0]["contention_s"]
        longest = max(sum(c.values()) for c in costs)
        end, mixed = now + longest, any(plan)
        shares = [(r.random(), r.random()) if mixed else (1.0, 1.0) for _ in costs]
        parts = [Alone(c, f, g) for c, (f, g) in zip(costs, shares, strict=True)]
        alone = max(p.whole_s for p in parts) if any(running) else 0.0
        rows = []
        for rank, cost in enumerate(costs):
            cost["rank_wait_s"] = longest - sum(cost.values())
            rows.append({
                "engine": e, "rank": rank, "slot": 0, "first_step": step, "n": 1, "start_s": now,
                "end_s": end, "prefill_tokens": sum(t for _, t in plan[rank]),
                "prefills": len(plan[rank]), "decodes": len(running[rank]),
                "decode_alone_s": alone,
                "decode_alone_collective_s": parts[rank].collective_s if alone else 0.0, **cost,
            })  # fmt: skip
            price = Price(e, rank, step, now, end, cost, alone, parts[rank].collective_s, mixed)
            self.pay(price, plan[rank], running[rank])
            for s in waiting[rank]:
                if s.stay is not None and s not in [p for p, _ in plan[rank]]:
                    s.starved["batch_mates_s"] += price.compute_s
                    for c in (*SHARED, "rank_wait_s", "collective_s"):
                        s.starved[c] += cost[c]
        self.t.add("clock", engine=e, slot=0, step=step, end_s=end)
        return end, rows

    def pay(self, p: Price, plan: list[Any], running: list[Seq]) -> None:
        """Give the seconds of a step to the parts of those who took part."""
        total = sum(t for _, t in plan)
        decode_s = p.alone_s - p.alone_collective_s - p.cost["host_s"]
        prompt_s = max(p.compute_s - (decode_s if running else 0.0), 0.0)
        for s, tokens in plan:
            self.t.add("chunks", request=s.number, engine=p.engine, rank=p.rank, step=p.step,
                       tokens=tokens, offset=s.done)  # fmt: skip
            self.begin(p, s, "recompute" if s.preemptions else "prefill")
            back = s.again or s.done + tokens <= s.lost
            late = back or (s.lost > 0 and s.done <= s.lost)
            for c, seconds in s.starved.items():
                s.parts["recompute_s" if late else c] += seconds
            s.starved.clear()
            if back:
                s.parts["recompute_s"] += p.end_s - p.start_s
                continue
            own = prompt_s * tokens / total
            s.parts["own_prefill_s"] += own
            s.parts["batch_mates_s"] += p.compute_s - own
            for c in (*SHARED, "rank_wait_s", "collective_s"):
                s.parts[c] += p.cost[c]
        for s in running:
            self.begin(p, s, "decode")
            for c in SHARED:
                s.parts[c] += p.cost[c]
            if p.mixed:
                s.parts["decode_s"] += decode_s
                s.parts["collective_s"] += p.alone_collective_s
                whole = p.compute_s + sum(p.cost[c] for c in ("collective_s", "host_s",
                                                              "rank_wait_s"))  # fmt: skip
                s.parts["stall_s"] += whole - p.alone_s
            else:
                s.parts["decode_s"] += p.compute_s
                s.parts["collective_s"] += p.cost["collective_s"]
                s.parts["rank_wait_s"] += p.cost["rank_wait_s"]

    def begin(self, p: Price, s: Seq, stage: str) -> None:
        """Account the wait before this step; open a stay when none is open."""
        waited = p.start_s - s.left_s
        if s.stay is None:
            if not s.engines:
                part, s.first_step_s = "queue_s", p.start_s
            elif stage == "decode" and not s.again:
                part = "decode_queue_s"
            else:
                part = "recompute_s"
            s.parts[part] += waited
            s.stay = {"request": s.number, "engine": p.engine, "rank": p.rank, "stage": stage,
                      "enter_s": s.left_s, "first_step": p.step, "tokens": 0}  # fmt: skip
            s.engines.append(p.engine)
            s.again = s.again and stage != "decode"

    def token(self, s: Seq, now: float) -> None:
        """A token is made; with the first visible one, TTFT is known."""
        s.tokens.append(now)
        hidden = self.first_token == "decode" and self.split and s.output > 1
        if len(s.tokens) == (2 if hidden else 1):
            s.parts_of_ttft = dict(s.parts)

    def close(self, s: Seq, why: str) -> None:
        s.starved.clear()
        self.t.add("intervals", closed=why, leave_s=s.left_s, **s.stay)
        s.stay = None

    def leave(self, s: Seq, running: list[Seq], now: float) -> bool:
        if len(s.tokens) < s.output:
            return False
        running.remove(s)
        self.close(s, "finished")
        return True

    def prompt_done(self, e: int, s: Seq, running: list[Seq], handed: list[Seq],
                    now: float) -> None:  # fmt: skip
        silent = self.first_token == "made_by_decode" and self.split and e == 0
        if not silent:
            self.token(s, now)
        if len(s.tokens) == s.output:
            self.close(s, "finished")
        elif self.split and e == 0:
            self.close(s, "handed_off")
            s.again = False
            handed.append(s)
        else:
            self.close(s, "decoding")
            running.append(s)

    def keep(self, rows: list[dict[str, Any]], new: list[dict[str, Any]], changed: bool) -> None:
        """Append the rows of a step, or merge them into the run of steps before."""
        if changed or not rows:
            rows.extend(new)
            return
        for old, row in zip(rows[-len(new):], new, strict=True):  # fmt: skip
            assert old["decodes"] == row["decodes"]
            old["n"] += 1
            old["end_s"] = row["end_s"]
            for c in (*COST, "rank_wait_s", "decode_alone_s", "decode_alone_collective_s"):
                old[c] += row[c]
