"""Random scenarios: small, crowded, and of every kind that the engine knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from helpers import Ask, Meddle, Run, planned, play, serving, traced
from sim.record.run_folder import RunFolder

MACHINES: dict[str, dict[str, Any]] = {
    "dense": {"model": "llama-3.1-8b", "topology": "single_gpu", "layout": "single"},
    "tensor": {"model": "llama-3.1-8b", "topology": "dgx_h100", "layout": {"tensor": {"tp": 2}}},
    "pipeline": {
        "model": "llama-3.1-8b",
        "topology": "dgx_h100",
        "layout": {"tensor": {"tp": 2, "pp": 2}},
    },
    "long pipeline": {
        "model": "llama-3.1-8b",
        "topology": "dgx_h100",
        "layout": {"tensor": {"pp": 4}},
    },
    "lockstep": {
        "model": "qwen3-30b-a3b",
        "topology": "dgx_h100",
        "layout": {"dp_attention": {"dp": 4}},
    },
    "windows": {"model": "gpt-oss-120b", "topology": "dgx_h100", "layout": "single"},
    "latent": {
        "model": "deepseek-v3",
        "topology": "hgx_h200",
        "layout": {"dp_attention": {"dp": 8}},
    },
}
ONE_STAGE = tuple(m for m in MACHINES if "pipeline" not in m)


@dataclass(frozen=True)
class Case:
    """A scenario with a trace of its own."""

    machine: str
    asks: tuple[Ask, ...]
    trace_block: int
    engine: dict[str, Any]
    timer: Any
    room: float
    """KV pool, in largest requests."""
    engines: int = 1
    router: Any = "least_loaded"
    closed: int | None = None
    """Clients, for a closed loop."""
    split: dict[str, Any] | None = None
    """Settings of the disaggregated deployment."""
    decode_engine: dict[str, Any] | None = None
    decode_room: float = 2.0
    until_s: float | None = None
    speculation: Any = None
    draft_length: Any = "fixed"

    def tree(self, workload: dict[str, Any], leap: bool) -> dict[str, Any]:
        machine = MACHINES[self.machine]
        if self.closed is not None:
            workload = workload | {"arrivals": {"closed_loop": {"concurrency": self.closed}}}
        pool = {
            "layout": machine["layout"],
            "timer": self.timer,
            "engine": self.engine,
            "engines": self.engines,
        }
        drafts = (
            {"speculation": self.speculation, "draft_length": self.draft_length}
            if self.speculation
            else {}
        )
        changes: dict[str, Any] = {
            "model": machine["model"],
            "topology": {"name": machine["topology"], "nodes": 4},
            "leap": leap,
            "until_s": self.until_s,
        }
        if self.split is None:
            changes["pools"] = {"serve": pool | drafts}
            changes["deployment"] = {"aggregated": {"router": self.router}}
        else:
            decode = pool | {"engine": self.engine | (self.decode_engine or {})}
            changes["pools"] = {"prefill": pool, "decode": decode | drafts}
            changes["deployment"] = {"disaggregated": {"router": self.router} | self.split}
        return serving(workload, **changes)

    def play(
        self, *, leap: bool = True, meddle: Meddle | None = None, folder: RunFolder | None = None
    ) -> Run:
        with traced(self.asks, self.trace_block) as workload:
            tree = self.tree(workload, leap)
            return play(tree, units=self._units(tree), meddle=meddle, folder=folder)

    def _units(self, tree: dict[str, Any]) -> dict[str, int]:
        longest = max(self._most(a) for a in self.asks)
        block = self.engine["block_size"]
        rooms = {"serve": self.room, "prefill": self.room, "decode": self.decode_room}
        out = {}
        for pool in planned(tree).pools:
            per_block = sum(g.units for g in pool.memory.groups)
            need = -(-longest // block) * per_block
            out[pool.name] = max(need, int(need * rooms[pool.name]))
        return out

    def _most(self, ask: Ask) -> int:
        declared = ask.max_tokens if self.engine["preemption"] == "none" else None
        return ask.prompt + max(ask.output, declared or 0)

    def but(self, **changes: Any) -> Case:
        return replace(self, **changes)


GAPS = st.one_of(st.just(0.0), st.floats(0.0, 0.05), st.sampled_from([0.01, 0.02, 0.5]))


@st.composite
def some_asks(draw: st.DrawFn, declared: bool, block: int, most: int = 12) -> tuple[Ask, ...]:
    """Requests, some at the same instant, some with prefixes in common."""
    n = draw(st.integers(1, most))
    shares = draw(st.booleans())
    now, asks = 0.0, []
    for i in range(n):
        now += draw(GAPS)
        prompt = draw(st.one_of(*(st.integers(*r) for r in ((1, 12), (1, 90), (100, 140)))))
        output = draw(st.one_of(st.integers(1, 4), st.integers(1, 60)))
        ids: tuple[int, ...] = ()
        if shares:
            family, whole = draw(st.integers(0, 2)), prompt // block
            common = draw(st.integers(0, whole))
            ids = tuple(1000 * family + d for d in range(common))
            own = -(-prompt // block) - common
            ids += tuple(10_000 + 1000 * i + d for d in range(own))
        tokens = output + draw(st.integers(0, 20)) if declared else None
        asks.append(Ask(now, prompt, output, ids, tokens))
    return tuple(asks)


BATCHERS = ("chunked_prefill", "prefill_first", "static")
ORDERS = ("fcfs", "shortest_prompt")


@st.composite
def cases(draw: st.DrawFn, machines: tuple[str, ...] = tuple(MACHINES), until: bool = True) -> Case:
    """One pool of engines that serve whole requests."""
    preemption = draw(st.sampled_from(["recompute", "recompute", "none"]))
    block = draw(st.sampled_from([4, 8, 16]))
    seqs = draw(st.sampled_from([1, 2, 3, 8, 32]))
    engine = {
        "block_size": block,
        "max_num_seqs": seqs,
        "max_num_batched_tokens": seqs + draw(st.sampled_from([0, 7, 16, 100])),
        "batcher": draw(st.sampled_from(BATCHERS)),
        "order": draw(st.sampled_from(ORDERS)),
        "preemption": preemption,
        "eviction": (eviction := draw(st.sampled_from(["lru", "none"]))),
        "enable_prefix_caching": eviction == "none" or draw(st.sampled_from([True, True, False])),
    }
    size = block * draw(st.sampled_from([1, 2]))
    return Case(
        machine=draw(st.sampled_from(machines)),
        asks=draw(some_asks(preemption == "none", size)),
        trace_block=size,
        engine=engine,
        timer=draw(st.sampled_from(["roofline", {"constant": {"step_s": 0.01}}])),
        room=draw(st.sampled_from([1.0, 1.3, 2.0, 10.0])),
        engines=draw(st.sampled_from([1, 1, 2])),
        router=draw(st.sampled_from(["least_loaded", "random", "prefix_affinity", "round_robin"])),
        closed=draw(st.sampled_from([None, None, 1, 3])),
        until_s=draw(st.sampled_from([None, None, 0.1, 0.0437])) if until else None,
    )


@st.composite
def split_cases(
    draw: st.DrawFn,
    machines: tuple[str, ...] = ("dense", "pipeline", "lockstep", "windows"),
    orders: tuple[str, ...] = ORDERS,
) -> Case:
    """A prefill and a decode pool, both small."""
    case = draw(cases(machines))
    pair_at = draw(st.sampled_from(["arrival", "prefill_end"]))
    seqs = draw(st.sampled_from([1, 2, 8]))
    return case.but(
        engine=case.engine | {"order": draw(st.sampled_from(orders))},
        engines=draw(st.sampled_from([1, 2])),
        split={
            "pair_at": pair_at,
            "first_token": draw(st.sampled_from(["prefill", "decode"])),
            "stream": pair_at == "arrival" and draw(st.booleans()),
        },
        decode_engine={"max_num_seqs": seqs, "max_num_batched_tokens": seqs + 20},
        decode_room=draw(st.sampled_from([1.0, 1.3, 2.0, 5.0])),
    )


def _laws() -> st.SearchStrategy[Any]:
    rates = st.sampled_from([0.0, 0.3, 0.75, 0.95, 1.0])
    return st.one_of(
        st.builds(lambda rate: {"iid": rate}, rates),
        st.builds(lambda a, b: {"by_position": [a, b]}, rates, rates),
    )


LENGTHS: tuple[Any, ...] = (
    "fixed", "fixed", {"by_batch": {"lengths": {1: 3, 2: 1}}}, {"by_batch": {"lengths": {3: 2}}},
    {"by_acceptance": {"every": 2}}, {"by_acceptance": {"every": 1, "off_above": 2}}, "quickest",
)  # fmt: skip


@st.composite
def speculating(draw: st.DrawFn, of: st.SearchStrategy[Case]) -> Case:
    """The same with drafts, of every kind and length, and a budget that has room for them."""
    case, law = draw(of), draw(_laws())
    length = draw(st.sampled_from(LENGTHS))
    table = isinstance(length, dict) and "by_batch" in length
    k = draw(st.integers(3 if table else 1, 5))
    speculation = draw(
        st.sampled_from([
            {"eagle": {"acceptance": law, "draft_tokens": k}},
            {"ngram": {"acceptance": law, "draft_tokens": k}},
            {"eagle": {"acceptance": law, "draft_tokens": k, "topk": 2, "verify_tokens": k + 2}},
            {"draft_model": {"model": "llama-3.1-8b", "acceptance": law, "draft_tokens": k,
                             "apart": case.machine == "windows"}},
        ])
    )  # fmt: skip
    if table and case.engine["max_num_seqs"] == 1:
        length = "fixed"

    def roomy(engine: dict[str, Any] | None) -> dict[str, Any] | None:
        if engine is None:
            return None
        more = engine["max_num_seqs"] * (k + 1)
        return engine | {"max_num_batched_tokens": engine["max_num_batched_tokens"] + more}

    return case.but(
        engine=roomy(case.engine),
        decode_engine=roomy(case.decode_engine),
        room=case.room + draw(st.sampled_from([0.0, 0.3, 1.0])),
        speculation=speculation,
        draft_length=length,
    )
