"""Speed-ups of speculative decoding priced for servers whose GPUs are not stated.

SpecForge's runs (SGLang, EAGLE-3) name model, benchmark, batch and draft, not GPU and layout. The
plain run of the same group says what they are likely to be: of H100 and H200 with 1, 2, 4 or 8 GPUs
that hold the model in 16 bit, the one whose priced decode step is nearest to the plain run's, batch
÷ throughput. Speculative runs have no part in the choice.

Throughputs are those of whole benchmarks, prompts and waiting included, which speculation leaves as
they are. Of the benchmarks of a model the one with the highest plain throughput is taken as all
decoding; in another one, with plain throughput T_b against T_max, the share T_b / T_max is, and

    speed-up = 1 / (1 − T_b / T_max + T_b / T_max / s)      s = plain step · τ / verify step

with τ the acceptance length measured in that run (Amdahl, 1967).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sim.errors import ScenarioError
from sim.fidelity.hardware import model_called
from sim.fidelity.serving import Server, scenario_of, work_out
from sim.perf.acceptances.iid import Iid
from sim.perf.drafts.eagle import Eagle
from sim.perf.price_list import Shapes
from sim.perf.speculation.acceptance import Tree
from sim.perf.speculation.price import SpeculativeTimer, compile_speculation
from sim.perf.step_timer import TableTimer
from sim.search.pricing import decode_shapes

GPUS = ("h100", "h200")
SIZES = (1, 2, 4, 8)
PROFILE = "sglang-0.5"
CONTEXT = 1024.0
"""Mean tokens of a sequence. assumed: prompts of a few hundred tokens, answers of one or two
thousand."""
BUDGET = 512
"""Most tokens of a step that are priced here."""
WIDTHS = {"qwen3-235b-a22b": 24_576}
"""Intermediate width of EAGLE-3 drafts where it is not the default (SpecForge
`configs/qwen3-235B-A22B-eagle3.json`)."""
ALIKE = {"qwen3-coder-30b-a3b": "qwen3-30b-a3b"}
"""Models with the dimensions of another one (their `config.json`)."""
ANY_LOAD = {
    "arrivals": "at_once",
    "requests": 1,
    "prompt_tokens": {"constant": {"tokens": 1}},
    "output_tokens": {"constant": {"tokens": 1}},
}


def catalog_model(name: str) -> str:
    """The model of the catalog that a run's is, or has the dimensions of."""
    for other, known in ALIKE.items():
        if other in name.lower():
            return known
    return model_called(name)


@dataclass(frozen=True, slots=True)
class Priced:
    """A server, plain and with drafts, at one batch."""

    gpu: str
    tp: int
    plain: TableTimer
    shapes: Shapes
    drafting: SpeculativeTimer

    @property
    def plain_s(self) -> float:
        """Seconds of a decode step."""
        return float(self.plain.seconds(self.shapes)[0])

    def step_s(self, tree: Tree) -> float:
        """Seconds of drafting and verifying `tree`."""
        return float(self.drafting.drafting(tree).seconds(self.shapes)[0])

    def speedup(self, tree: Tree, length: float) -> float:
        """Over plain decoding, with `length` tokens a step."""
        return self.plain_s * length / self.step_s(tree)


def server_of(model: str, batch: int, plain_step_s: float, gpu: str | None = None) -> Priced:
    """The likeliest server of a plain run whose decode step takes `plain_step_s`; with a GPU given,
    as few of it as hold the model. ScenarioError when none does."""
    found = list(_fitting(model, batch, (gpu,) if gpu else GPUS))
    if not found:
        raise ScenarioError(
            f"{model} in 16 bit does not fit on {SIZES[-1]} GPUs {gpu or ' or '.join(GPUS)}; name "
            "a larger one with --gpu"
        )
    if gpu:
        return found[0]
    return min(found, key=lambda p: abs(np.log(p.plain_s / plain_step_s)))


@lru_cache(maxsize=32)
def _fitting(model: str, batch: int, gpus: Sequence[str]) -> tuple[Priced, ...]:
    """All servers that hold the model, the fewest GPUs first."""
    out = []
    for tp in SIZES:
        for gpu in gpus:
            try:
                out.append(_priced(model, batch, gpu, tp))
            except ScenarioError:
                continue  # too small, or heads that so many GPUs do not divide
    return tuple(out)


def _priced(model: str, batch: int, gpu: str, tp: int) -> Priced:
    engine = {"max_num_batched_tokens": BUDGET, "max_num_seqs": max(batch, 1)}
    server = Server(gpu, model, PROFILE, tp, precision={"weights": "bf16"}, engine=engine)
    pool = work_out(server, scenario_of(server, ANY_LOAD)).pools[0]
    task, timer = pool.tasks[0], pool.settings.timer
    plain = timer.compile(task)
    draft = Eagle(acceptance=Iid(rate=0.0), draft_tokens=1, ffn_width=WIDTHS.get(model))
    drafting = compile_speculation(draft, 1, timer, task, plain)
    shapes = decode_shapes(plain, np.array([batch]), np.array([CONTEXT]))
    return Priced(gpu, tp, plain, shapes, drafting)


def with_the_rest(speedup: float, decoding: float) -> float:
    """Of a run of which a share `decoding` of the time is speeded up (Amdahl)."""
    return 1.0 / (1.0 - decoding + decoding / speedup)
