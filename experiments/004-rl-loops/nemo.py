"""Speculative rollouts in NeMo-RL (arXiv 2604.26779): stages, speed-ups, drafts, the projection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from beside import EXACT, TIGHT, Paper, Row
from play import Played, Run

from sim.perf.speculation.acceptance import iid_length
from sim.perf.training.asynchrony import end_to_end_bound

_AR = Run("nemo_8b")
_HALVES = (
    "rl.cadence={asynchronous: {staleness: 1}}",
    "rl.trainer.placement=apart",
    "pools.rollout.engines=16",
    "rl.trainer.layout.dp=16",
    "rl.steps=6",
)
_LARGER = ("model=qwen3-32b", "rl.trainer.layout={tp: 4, dp: 8, sequence_parallel: true}")
_LONGER = (
    "rl.response_tokens.lognormal={mean_tokens: 6635, sigma: 1.0, max_tokens: 30720}",
    "pools.rollout.engine.max_model_len=31744",
    "rl.trainer.micro_batch_tokens=31744",
    "rl.trainer.recipe.recompute=full",
)
_FEWER = ("rl.prompts_per_step=128",)
_235B = Run("nemo_235b", warm_up=4)
_TURNS_235B = (
    "rl.cadence=synchronous",
    "rl.trainer.placement=colocated",
    "rl.weight_sync={}",
    "pools.rollout.engines=512",
    "rl.trainer.layout.dp=256",
    "rl.steps=2",
)
LENGTHS = {"Think": {3: 2.77, 5: 3.23, 7: 3.48}, "Zero": {3: 3.32, 5: 4.35, 7: 5.06}}
"""Printed mean acceptance lengths by draft length."""
CHAT = {"Think": 2.40, "Zero": 2.88}
"""At three drafts, with a draft trained on chat data."""
NGRAM = {"Think": 2.05, "Zero": 2.47}


def rate(length: float, drafts: int) -> float:
    """The chance per draft at which a chain of `drafts` gives this mean acceptance length."""
    low, high = 0.0, 1.0 - 1e-12
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if iid_length(middle, drafts) < length else (low, middle)
    return round(low, 4)


def _eagle(length: float, drafts: int) -> str:
    accepted = f"acceptance: {{iid: {{rate: {rate(length, drafts)}}}}}"
    return f"pools.rollout.speculation={{eagle: {{draft_tokens: {drafts}, {accepted}}}}}"


def _ngram(length: float) -> str:
    accepted = f"acceptance: {{iid: {{rate: {rate(length, 3)}}}}}"
    return f"pools.rollout.speculation={{ngram: {{draft_tokens: 3, {accepted}}}}}"


_THINK3 = _eagle(2.77, 3)
RUNS: dict[str, Run] = {
    "AR": _AR,
    **{f"{w} {k}": _AR.but(_eagle(n, k)) for w, by in LENGTHS.items() for k, n in by.items()},
    **{f"{w} chat": _AR.but(_eagle(n, 3)) for w, n in CHAT.items()},
    **{f"{w} n-gram": _AR.but(_ngram(n)) for w, n in NGRAM.items()},
    "AR larger": _AR.but(*_LARGER),
    "larger": _AR.but(*_LARGER, _THINK3),
    "AR longer": _AR.but(*_LONGER),
    "longer": _AR.but(*_LONGER, _THINK3),
    "AR fewer": _AR.but(*_FEWER),
    "fewer": _AR.but(*_FEWER, _THINK3),
    "AR apart": _AR.but(*_HALVES, warm_up=2),
    "Think apart": _AR.but(*_HALVES, _THINK3, warm_up=2),
    "Zero apart": _AR.but(*_HALVES, _eagle(3.32, 3), warm_up=2),
    "235B AR": _235B,
    "235B": _235B.but(_eagle(4.0, 5)),
    "235B in turns AR": _235B.but(*_TURNS_235B, warm_up=0),
}
QUICK = ("AR", "Think 3")
"""Runs that are played again by tests/validation/test_published_loops.py."""

_BATCH = (
    "512 prompts × 16 and at most 16,384 tokens, NeMo-RL's recipe for the data set (examples/"
    "configs/recipes/llm/dapo-qwen2.5-7b.yaml); mean length 3,140 tokens, at which our training "
    "stage takes the printed one; the law's tail; data parallel trainer; EAGLE-3 draft of the "
    "usual size; equal chances at all positions"
)
_SPED_UP = (
    ("RL-2", "gen"), ("RL-2", "gen gain"), ("RL-2", "total"), ("RL-2", "total gain"),
    ("RL-8", "chat"), ("RL-8", "own"),
)  # fmt: skip
"""Rows that lean on what a verify step costs."""
PAPER = Paper(
    "Speculative rollouts, NeMo-RL",
    "core-papers.md 7 and systems.md B.17.4 [N, F2]: arXiv 2604.26779",
    _BATCH,
    {
        **dict.fromkeys(
            ("RL-1 Zero gen", "RL-1 Zero total", "RL-3 Zero share"),
            "the two workloads print the same training and log-probability times, so the same "
            "tokens; what makes Zero's generation a quarter shorter is not published",
        ),
        **dict.fromkeys(
            [f"{row} {w} {what}" for w in ("Think", "Zero") for row, what in _SPED_UP],
            "a printed verify step costs 1.80 (Think) and 1.88 (Zero) plain ones, ours 1.4: "
            "kernels and host of a speculating engine are those of a plain one with more tokens, "
            "and what the measured stack adds is not published",
        ),
        **dict.fromkeys(
            ("RL-7 Think", "RL-7 Zero"),
            "n-gram drafting costs the host's synchronous scheduling here and no more; the "
            "measured stack loses more than that",
        ),
        "RL-1 prepare": "moving weights between layouts alone; waking engines has no time here",
        "RL-14 fewer": "with 64 rollouts a GPU as with 256, generation is bound by the longest "
        "answers, which run in small batches either way",
        "RL-9": "acceptance after adaptation is not printed, and acceptance is an input",
    },
)
PROJECTION = Paper(
    "Projection to 235B, NeMo-RL",
    "core-papers.md 7 [N]: arXiv 2604.26779",
    "256 prompts × 16; mean length 8,000 and at most 32,768 tokens; half of the GPUs generate, "
    "engines of four; layouts; EAGLE-3 draft of the usual size for the acceptance given",
)


def rows(played: Mapping[str, Played]) -> Iterator[Row]:
    """All targets of the paper."""
    yield from _stages(played)
    yield from _lengths()
    yield from _drafts(played)
    yield from _conditions(played)
    yield from _projection(played)


def _stages(played: Mapping[str, Played]) -> Iterator[Row]:
    ar = played["AR"]
    theirs = {"Think": (133.6, 185.3, 87.0, 137.4), "Zero": (100.0, 151.2, 56.6, 107.5)}
    yield PAPER.given("RL-1 train", "8B, 32 GB200: training, s", 31.4, ar["train_s"])
    yield PAPER.near("RL-1 logprob", "8B, 32 GB200: log-probabilities, s", 17.9, ar.logprob_s)
    yield PAPER.near(
        "RL-1 prepare", "8B, 32 GB200: weights to the engines, s", 2.1, ar["reshard_s"]
    )
    for w, (gen, total, fast, whole) in theirs.items():
        p = played[f"{w} 3"]
        yield PAPER.near(f"RL-1 {w} gen", f"{w}, plain: generation, s", gen, ar["generation_s"])
        yield PAPER.near(f"RL-1 {w} total", f"{w}, plain: step, s", total, ar.step_s)
        yield PAPER.near(
            f"RL-2 {w} gen", f"{w}, three drafts: generation, s", fast, p["generation_s"]
        )
        yield PAPER.near(f"RL-2 {w} total", f"{w}, three drafts: step, s", whole, p.step_s)
        yield PAPER.near(
            f"RL-2 {w} gen gain", f"{w}, three drafts: generation, gain", gen / fast,
            ar["generation_s"] / p["generation_s"],
        )  # fmt: skip
        yield PAPER.near(
            f"RL-2 {w} total gain", f"{w}, three drafts: step, gain", total / whole,
            ar.step_s / p.step_s,
        )  # fmt: skip
        share = 100 * gen / total
        yield PAPER.points(
            f"RL-3 {w} share", f"{w}, plain: generation in the step", round(share, 1),
            ar.share("generation_s"),
        )  # fmt: skip
        bound = {"Think": 1.85, "Zero": 1.86}[w]
        ours = end_to_end_bound(share / 100, LENGTHS[w][3])
        yield PAPER.near(f"RL-3 {w} bound", f"{w}: gain if drafting were free", bound, ours, EXACT)


def _lengths() -> Iterator[Row]:
    """One chance for all draft lengths, as read off by the reference."""
    for w, chance in (("Think", 0.75), ("Zero", 0.87)):
        for k, printed in LENGTHS[w].items():
            yield PAPER.near(
                f"RL-4 {w} {k}", f"{w}, {k} drafts, chance {chance}: tokens a verify step",
                printed, iid_length(chance, k), 0.035,
            )  # fmt: skip


def _drafts(played: Mapping[str, Played]) -> Iterator[Row]:
    gain = _gains(played)
    for w, chat, own in (("Zero", 1.51, 1.77), ("Think", 1.19, 1.53)):
        what = f"{w}, three drafts: generation, gain"
        yield PAPER.near(
            f"RL-8 {w} chat", f"{what}, draft from chat data", chat, gain[f"{w} chat"], TIGHT
        )
        yield PAPER.near(
            f"RL-8 {w} own", f"{what}, draft from the domain", own, gain[f"{w} 3"], TIGHT
        )
        yield PAPER.shape(
            f"RL-7 {w}", f"{w}: n-gram drafts, gain", "slower than plain", [gain[f"{w} n-gram"]],
            gain[f"{w} n-gram"] < 1.0,
        )  # fmt: skip
        yield PAPER.predicted(f"T34 {w} n-gram", f"{w}: n-gram drafts, gain", gain[f"{w} n-gram"])
        for k in (5, 7):
            yield PAPER.predicted(
                f"T34 {w} {k}", f"{w}, {k} drafts: generation, gain", gain[f"{w} {k}"]
            )
    yield PAPER.missing(
        "RL-9", "online adaptation of the draft, gain", "1.51 → 1.63, 1.19 → 1.26; 1.77, 1.53",
        PAPER.causes["RL-9"],
    )  # fmt: skip


def _gains(played: Mapping[str, Played]) -> dict[str, float]:
    """Generation's speed-up of every speculative run in turns."""
    plain = played["AR"]["generation_s"]
    names = [n for n in RUNS if n.startswith(("Think", "Zero")) and not n.endswith("apart")]
    return {n: plain / played[n]["generation_s"] for n in names}


def _conditions(played: Mapping[str, Played]) -> Iterator[Row]:
    """RL-14, and asynchrony."""
    base = _gains(played)["Think 3"]
    for name, what in (
        ("larger", "32B for 8B"),
        ("longer", "twice as long rollouts"),
        ("fewer", "a quarter of the rollouts"),
    ):
        gain = played[f"AR {name}"]["generation_s"] / played[name]["generation_s"]
        yield PAPER.shape(
            f"RL-14 {name}", f"Think, three drafts, {what}: generation, gain before and after",
            "larger gain", (base, gain), gain > base,
        )  # fmt: skip
    for w in ("Think", "Zero"):
        gain = played["AR apart"].step_s / played[f"{w} apart"].step_s
        yield PAPER.predicted(f"T34 {w} apart", f"{w}, 16 + 16 GB200, lag 1: step, gain", gain)


def _projection(played: Mapping[str, Played]) -> Iterator[Row]:
    ar, fast = played["235B AR"], played["235B"]
    what = "235B FP8, 2,048 GB200"
    yield PROJECTION.near(
        "RL-13", f"{what}, lag 2, five drafts, α = 4: step, gain", 2.5, ar.step_s / fast.step_s
    )
    yield PROJECTION.predicted(
        "T34 235B rollouts", f"{what}: tokens a verify step × plain step ÷ verify step",
        fast.speedup,
    )  # fmt: skip
    yield PROJECTION.predicted(
        "T34 235B in turns", f"{what}: plain in turns ÷ speculative with lag 2",
        played["235B in turns AR"].step_s / fast.step_s,
    )  # fmt: skip
