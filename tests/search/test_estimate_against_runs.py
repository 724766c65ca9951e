"""An estimate and a played run of the same closed loop of equal requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from helpers import generated, play, serving

from sim.search.answer import Estimate
from sim.search.estimate import estimate
from sim.search.point import Point, Split

ROUNDS = 7
"""Requests per client; the first three and the last are left out."""


@dataclass(frozen=True)
class Case:
    clients: int
    prompt: int
    output: int
    layout: Any = "single"
    model: str = "llama-3.1-8b"
    engine: dict[str, Any] = field(default_factory=dict)
    split: Split | None = None
    changes: tuple[str, ...] = ()

    def estimate(self) -> Estimate:
        return estimate(
            Point(
                self.model, "h100", self.prompt, self.output, self.clients, layout=self.layout,
                timer="roofline", engine={"max_num_batched_tokens": 2048} | self.engine,
                split=self.split, changes=self.changes,
            )
        )  # fmt: skip

    def played(self, found: Estimate) -> tuple[float, float]:
        """Mean TTFT and TPOT in seconds, on the machine of the estimate."""
        s = found.plan.scenario.settings
        loop = {"closed_loop": {"concurrency": self.clients}}
        limits = {"max_num_batched_tokens": 2048, "max_num_seqs": 1024} | self.engine
        pools = {
            name: {
                "layout": layout, "engines": s.pools[name].engines, "timer": "roofline",
                "engine": limits,
            }
            for name, (layout, _) in found.point.pools.items()
        }  # fmt: skip
        tree = serving(
            generated(ROUNDS * self.clients, self.prompt, self.output, loop),
            model=self.model,
            topology={"name": s.topology.name, "nodes": s.topology.nodes},
            pools=pools,
        )
        if self.split is not None:
            first = s.deployment.first_token
            tree["deployment"] = {"disaggregated": {"first_token": first}}
        r = play(tree).requests
        r = r.iloc[3 * self.clients : (ROUNDS - 1) * self.clients]
        assert (r.state == "finished").all()
        tpot = (r.end_s - r.first_token_s) / (r.generated_tokens - 1)
        return float((r.first_token_s - r.arrival_s).mean()), float(tpot.mean())


TP2PP2 = {"tensor": {"tp": 2, "pp": 2}}
CASES = {
    "one client": Case(1, 500, 60),
    "few clients, short prompts": Case(4, 100, 60),
    "few clients, long prompts": Case(7, 3000, 33),
    "prompts in half of the steps": Case(16, 2000, 40),
    "prompts in every step": Case(40, 2000, 30),
    "many clients": Case(96, 100, 50),
    "prompts longer than a step": Case(6, 5000, 30),
    "two engines": Case(8, 1100, 40, changes=("pools.serve.engines=2",)),
    "prompts first": Case(16, 1000, 40, engine={"batcher": "prefill_first"}),
    "a pipeline": Case(12, 1000, 40, layout=TP2PP2),
    "ranks in lockstep": Case(
        18, 500, 30, layout={"dp_attention": {"dp": 4}}, model="qwen3-30b-a3b"
    ),
    "windows that are crossed": Case(6, 60, 120, model="gpt-oss-20b"),
    "more clients than places": Case(12, 300, 40, engine={"max_num_seqs": 8}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_estimate_is_what_a_run_comes_to(case: Case) -> None:
    found = case.estimate()
    ttft_s, tpot_s = case.played(found)
    assert found.tpot_s == pytest.approx(tpot_s, rel=0.03)
    assert found.ttft_s == pytest.approx(ttft_s, rel=0.10)


SPLITS = {
    "decode limits": Case(16, 1000, 60, split=Split("single", 1, 1)),
    "prefill limits": Case(24, 2000, 25, split=Split("single", 1, 1)),
    "two prefill engines": Case(24, 700, 50, split=Split("single", 2, 1)),
    "first token with the KV": Case(
        12, 500, 60, split=Split("single", 1, 1),
        changes=("deployment.disaggregated.first_token=decode",),
    ),
    "other layouts": Case(
        16, 800, 40, layout={"tensor": {"tp": 4}}, split=Split({"tensor": {"tp": 2}}, 1, 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPLITS.values(), ids=SPLITS)
def test_an_estimate_of_pools_apart_is_what_a_run_comes_to(case: Case) -> None:
    found = case.estimate()
    ttft_s, tpot_s = case.played(found)
    assert found.tpot_s == pytest.approx(tpot_s, rel=0.05)
    assert found.ttft_s == pytest.approx(ttft_s, rel=0.25)


DRAFTED = {
    "one client": (1, {"eagle": {"acceptance": {"iid": 0.75}}}, "single"),
    "few clients": (
        8,
        {"eagle": {"acceptance": {"decay": {"first": 0.8, "decay": 0.9}}}},
        "single",
    ),
    "many clients, prompt lookup": (48, {"ngram": {"acceptance": {"iid": 0.6}}}, "single"),
    "a pipeline": (8, {"eagle": {"acceptance": {"iid": 0.75}}}, TP2PP2),
}


@pytest.mark.parametrize("drafted", DRAFTED.values(), ids=DRAFTED)
def test_an_estimate_with_drafts_is_what_a_run_comes_to(drafted: tuple[int, Any, Any]) -> None:
    """Tokens/s of a closed loop, from the first answer of each client to the last but one."""
    clients, draft, layout = drafted
    found = estimate(
        Point("llama-3.1-8b", "h100", 200, 400, clients, layout=layout, timer="roofline",
              engine={"max_num_batched_tokens": 2048}, speculation=draft)
    )  # fmt: skip
    rounds = 8 if clients > 1 else 24
    pool = {"layout": layout, "timer": "roofline", "speculation": draft}
    s = found.plan.scenario.settings
    loop = {"closed_loop": {"concurrency": clients}}
    r = play(
        serving(
            generated(rounds * clients, 200, 400, loop),
            topology={"name": s.topology.name, "nodes": s.topology.nodes},
            pools={"serve": pool},
        )
    ).requests.sort_values("end_s")
    kept = r.iloc[clients:-clients]
    rate = len(kept) * 400 / (kept.end_s.max() - r.end_s.iloc[clients - 1])
    assert found.plain()["output_tokens_per_s"] == pytest.approx(rate, rel=0.06)


def test_a_kv_pool_that_is_too_small_is_said_and_costs_what_it_costs_in_a_run() -> None:
    case = Case(24, 9000, 60, changes=("pools.serve.engine.gpu_memory_utilization=0.4",))
    found = case.estimate()
    held = found.pools[0]
    assert held.running == held.room.kv_sequences < 24
    assert "its KV pool holds no more" in found.limits[0]
    tight = Case(24, 9000, 60, engine={"gpu_memory_utilization": 0.4})
    ttft_s, tpot_s = tight.played(tight.estimate())
    e2e_s = ttft_s + 59 * tpot_s
    assert found.e2e_s == pytest.approx(e2e_s, rel=0.15)
