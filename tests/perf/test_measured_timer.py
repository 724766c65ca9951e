"""Steps priced by somebody's layer tables: how tables become steps, and which are refused."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import planned, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.fidelity.groups import summarise
from sim.fidelity.kinds import Options
from sim.fidelity.kinds.run import naming_timer
from sim.fidelity.validate import validate
from sim.perf.attention_grid import decode_tables
from sim.perf.layer_tables import AttentionRows, Curve, read_layer_tables
from sim.perf.shape import StepShape, pairs
from sim.perf.step_timer import TableTimer, run_of

DATA = Path(__file__).parents[3] / "shared" / "data"
SERVED = DATA / "e2e_serving" / "llmservingsim_rtxpro6000_llama31_8b_tp1"
LAYERS = DATA / "step_times" / "rtxpro6000_llama31_8b"
needs_data = pytest.mark.skipif(
    not SERVED.is_dir(), reason="the recorded measurements are not in ../shared/data"
)

TOKENS, SEQUENCES = 64, 32
POINTS = (1, 2, 4, 8, 16, 32, 48, 64)
KINDS = {
    "embedding": 3.0, "layernorm": 5.0, "qkv_proj": 70.0, "rotary_emb": 2.0, "o_proj": 50.0,
    "gate_up_proj": 300.0, "act_fn": 4.0, "down_proj": 160.0, "final_layernorm": 7.0,
}  # fmt: skip
"""Microseconds of every kind at no tokens; each token adds a hundredth."""
HEADS = {"lm_head": 900.0, "sampler": 20.0}
MICRO = 1e-6


def kind_us(kind: str, tokens: int) -> float:
    return (KINDS | HEADS)[kind] * (1 + tokens / 100)


def alone_us(chunk: int, cached: int, decodes: int, context: int) -> float:
    """Prompt and decodes as kernels of their own."""
    prompt = 9.0 + 0.02 * cached + 0.1 * chunk if chunk else 0.0
    decode = max(6.0, 4.0 + 0.001 * decodes * context) if decodes else 0.0
    return prompt + decode


def mixed_us(chunk: int, cached: int, decodes: int, context: int) -> float:
    """Decodes take four times as long in the mixed kernel; half of what lasts shorter is hidden."""
    if not chunk or not decodes:
        return alone_us(chunk, cached, decodes, context)
    prompt, decode = alone_us(chunk, cached, 0, 0), 4 * alone_us(0, 0, decodes, context)
    return max(prompt, decode) + 0.5 * min(prompt, decode)


def write(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


def write_tables(
    folder: Path,
    tp: int = 1,
    law: Callable[[int, int, int, int], float] = mixed_us,
    mixed: bool = True,
    scale: float = 1.0,
    suffix: str = ".csv",
    **changes: float | None,
) -> str:
    """Tables by these laws; `changes` to the kinds of layers, None leaves one out."""
    kinds = {k: v for k, v in (KINDS | changes).items() if v is not None}
    folder.mkdir(parents=True, exist_ok=True)
    write(
        folder / f"dense_tp{tp}{suffix}",
        ("tp", "layer", "tokens", "time_us"),
        [(tp, k, n, scale * v * (1 + n / 100)) for k, v in kinds.items() for n in POINTS],
    )
    write(
        folder / f"per_sequence_tp{tp}{suffix}",
        ("tp", "layer", "sequences", "time_us"),
        [(tp, k, n, scale * v * (1 + n / 100)) for k, v in HEADS.items() for n in POINTS],
    )
    contexts, some = (16, 64, 256, 1024, 4096), (0, 1, 2, 4, 8, 16, 32)
    grid = [
        (c, o, n, x)
        for c in (0, 8, 16, 32, 64)
        for o in (contexts if c == 8 else (0, *contexts))
        for n in some
        for x in (contexts if n else (0,))
        if (c or (n and o == 16)) and (mixed or not (c and n))
    ]
    write(
        folder / f"attention_tp{tp}{suffix}",
        ("tp", "prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
        [(tp, c, o if c else 0, n, x, scale * law(c, o, n, x)) for c, o, n, x in grid],
    )
    return str(folder)


def compiled(
    tables: str,
    model: str = "llama-3.1-8b",
    layout: Any = "single",
    topology: str = "single_gpu",
    tokens: int = TOKENS,
    **pool: Any,
) -> tuple[TableTimer, list[dict[str, str]]]:
    """(timer, what it assumes)"""
    timer = {"measured": {"tables": tables} | pool.pop("timer", {})}
    pool |= {
        "layout": layout,
        "timer": timer,
        "engine": {"max_num_batched_tokens": tokens, "max_num_seqs": min(tokens, SEQUENCES)},
    }
    workload = {"path": "traces/sample_azure.csv"}
    tree = serving(workload, model=model, topology=topology, pools={"serve": pool})
    (plan,) = planned(tree).pools
    task, made = plan.tasks[0], plan.settings.timer
    return made.compile(task), made.assumptions(task)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tables(tmp_path_factory.mktemp("gpu_model"))


def shape(contexts: Sequence[int] = (), chunks: Sequence[tuple[int, int]] = ()) -> StepShape:
    """Decodes with these contexts and chunks of (offset, tokens) that finish."""
    made = StepShape(decodes=len(contexts), context_tokens=sum(contexts), prefills=len(chunks))
    made.prefill_tokens = sum(t for _, t in chunks)
    made.prefill_pairs = sum(pairs(o, t) for o, t in chunks)
    made.prefill_kv_tokens = sum(o + t for o, t in chunks)
    made.sampled = len(contexts) + len(chunks)
    return made


# --- from tables to steps ----------------------------------------------------------------------


def test_a_step_is_every_kind_as_often_as_the_model_has_it(tables: str) -> None:
    """Two norms a layer, one embedding and one last norm a model, attention a layer, one head."""
    timer, _ = compiled(tables, timer={"step_s": 0.0, "sequence_s": 0.0})
    once = kind_us("embedding", 8) + kind_us("final_layernorm", 8)
    layer = sum(kind_us(k, 8) for k in KINDS if k not in ("embedding", "final_layernorm"))
    layer += kind_us("layernorm", 8) + alone_us(0, 0, 8, 1024)
    head = sum(kind_us(k, 8) for k in HEADS)
    expected = MICRO * (once + 32 * layer + head)
    assert timer.price([shape([1024] * 8)]) == pytest.approx(expected, rel=1e-6)


def test_a_prompt_in_chunks_costs_its_layers_and_its_pairs(tables: str) -> None:
    timer, _ = compiled(tables)
    one, other = shape(chunks=[(64, 32)]), shape(chunks=[(1024, 32)])
    more = timer.price([other]) - timer.price([one])
    assert more == pytest.approx(32 * MICRO * 0.02 * (1024 - 64), rel=0.02)


def test_rows_of_a_product_up_to_the_next_tile_cost_the_same() -> None:
    """Between 32 and 48 tokens a product has the rows of 48, an elementwise pass its own."""
    curve = Curve(np.array([16.0, 32.0, 48.0, 128.0]), np.array([1.0, 2.0, 6.0, 14.0]))
    tiled, plain = curve.upto(200, tiled=True), curve.upto(200)
    assert tiled[[32, 33, 48]].tolist() == [2.0, 6.0, 6.0]
    assert plain[40] == 4.0
    assert tiled[88] == plain[88] == 10.0, "points further apart than a tile tell nothing between"
    assert tiled[0] == plain[0] == 0.0
    assert plain[200] == pytest.approx(14 + 72 * (14 - 6) / 80), "behind the table a straight line"


def test_decodes_take_the_lower_of_two_lines_behind_a_flat_part() -> None:
    context = np.array([16.0, 32, 64, 128, 256, 512, 1024, 2048])
    law = np.maximum(10.0, np.minimum(2 + 0.1 * context, 30 + 0.02 * context))
    none = np.zeros(len(context))
    rows = AttentionRows(none, none, none + 4, context, law)
    found = decode_tables(rows, 8)
    keys = 4 * context
    line = np.minimum(found.near[4] + keys * found.near_key[4],
                      found.far[4] + keys * found.far_key[4])  # fmt: skip
    assert np.maximum(found.floor[4], line) == pytest.approx(law, rel=1e-9)


def test_decodes_beside_a_prompt_take_as_long_as_in_the_mixed_kernel(tables: str) -> None:
    timer, _ = compiled(tables)
    (price,) = timer.tables[0].attention
    assert price.mixed is not None
    for chunk, offset, n, context in ((64, 256, 1, 64), (16, 0, 16, 1024), (32, 1024, 8, 4096)):
        step = shape([context] * n, [(offset, chunk)])
        found = timer.tables[0].attention_s(step) / 32 / MICRO
        assert found == pytest.approx(mixed_us(chunk, offset, n, context), rel=0.1)
        assert found > 1.5 * alone_us(chunk, offset, n, context) or n == 1


def test_without_mixed_rows_a_mixed_step_is_the_sum_and_says_so(tmp_path: Path) -> None:
    timer, rows = compiled(write_tables(tmp_path, mixed=False))
    both = shape([256] * 4, [(256, 16)])
    found = timer.tables[0].attention_s(both)
    alone = sum(
        timer.tables[0].attention_s(s) for s in (shape([256] * 4), shape(chunks=[(256, 16)]))
    )
    assert found == alone
    assert any(row["source"].startswith("assumed: the sum") for row in rows)


def test_tables_may_be_zipped(tables: str, tmp_path: Path) -> None:
    zipped, _ = compiled(write_tables(tmp_path, suffix=".csv.gz"))
    plain, _ = compiled(tables)
    step = [shape([300] * 3, [(0, 20)])]
    assert zipped.price(step) == plain.price(step)


def test_a_table_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    first = read_layer_tables(write_tables(tmp_path, layernorm=5.0), 1)
    again = read_layer_tables(write_tables(tmp_path, layernorm=9.0), 1)
    assert again.dense["layernorm"].seconds[0] > first.dense["layernorm"].seconds[0]


def test_the_host_adds_what_the_scenario_says(tables: str) -> None:
    step = [shape([100] * 4)]
    bare, _ = compiled(tables, timer={"step_s": 0.0, "sequence_s": 0.0})
    slow, rows = compiled(tables, timer={"step_s": "1 ms", "sequence_s": "10 us"})
    assert slow.price(step) - bare.price(step) == pytest.approx(1e-3 + 4e-5)
    assert {"what": "host step_s", "value": "0.001 s", "source": "scenario"} in rows


def test_sums_over_devices_are_the_topologys(tmp_path: Path) -> None:
    """Two all-reduces a layer; the tables of one device have none."""
    folder = write_tables(tmp_path, tp=2)
    timer, _ = compiled(folder, layout={"tensor": {"tp": 2}}, topology="dgx_h100")
    collective = timer.tables[0].collective
    assert collective[0] == 0
    assert collective[64] > collective[1] > 64 * 1e-6


def test_stages_share_the_layers_and_the_last_has_the_head(tables: str) -> None:
    layout = {"tensor": {"pp": 2}}
    halves, _ = compiled(tables, layout=layout, topology="dgx_h100")
    whole, _ = compiled(tables)
    first, last = halves.tables
    assert first.linear[8] - last.linear[8] == pytest.approx(
        MICRO * (kind_us("embedding", 8) - kind_us("final_layernorm", 8))
    )
    assert first.linear[8] + last.linear[8] == pytest.approx(whole.tables[0].linear[8])
    assert not first.head.any()
    assert last.head.tolist() == whole.tables[0].head.tolist()
    assert first.collective[8] > 0 == last.collective[8]


def test_prices_beyond_the_tables_go_on_as_lines_and_are_listed(tables: str) -> None:
    timer, rows = compiled(tables, tokens=256)
    assert timer.tables[0].linear[256] == pytest.approx(
        timer.tables[0].linear[64]
        + 192 * (timer.tables[0].linear[64] - timer.tables[0].linear[32]) / 32
    )
    listed = {r["what"]: r for r in rows if r["source"].startswith("extrapolated")}
    assert listed["tokens of a step"]["value"] == "up to 256"
    assert "prompt tokens of attention" in listed
    assert "context" in listed
    _, rows = compiled(tables)
    assert "tokens of a step" not in {r["what"] for r in rows}


# --- two faces ---------------------------------------------------------------------------------

CONTEXTS = st.lists(st.integers(1, 20_000), max_size=TOKENS // 2)
CHUNKS = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 8)), max_size=4)


@given(contexts=CONTEXTS, chunks=CHUNKS)
@settings(max_examples=80)
def test_one_price_two_faces(
    tables: str, contexts: list[int], chunks: list[tuple[int, int]]
) -> None:
    timer, _ = compiled_once(tables)
    step = shape(contexts, chunks)
    names = ("decodes", "context_tokens", "prefills", "prefill_tokens", "prefill_pairs",
             "prefill_kv_tokens", "sampled")  # fmt: skip
    columns = {n: np.array([[getattr(step, n)]]) for n in names}
    columns |= {f"capped{w}_{i}": np.zeros((1, 1), int) for w in ("", "_pairs") for i in (1, 2)}
    price = timer.price([step])
    assert timer.seconds(columns).tolist() == [price]
    causes = timer.breakdown(columns)
    alone = ("decode_alone_s", "decode_alone_collective_s")
    total = sum(v[0, 0] for k, v in causes.items() if k not in alone)
    assert total == pytest.approx(price, rel=1e-12)
    if contexts:
        without = timer.price([shape(contexts)])
        host = causes["host_s"][0, 0] - 4e-6 * len(contexts)
        assert causes["decode_alone_s"][0, 0] == pytest.approx(without + host)


@pytest.mark.parametrize("n", [1, 7, 60, 1500])
def test_a_run_of_decodes_is_priced_like_its_steps(tables: str, n: int) -> None:
    timer, _ = compiled_once(tables)
    start = shape([700, 900, 2000])
    steps = [timer.price([shape([700 + i, 900 + i, 2000 + i])]) for i in range(n)]
    assert list(timer.price_run([start], n)) == steps
    assert timer.seconds(run_of([start], n)).tolist() == steps


_KEPT: dict[str, Any] = {}


def compiled_once(tables: str) -> Any:
    if tables not in _KEPT:
        _KEPT[tables] = compiled(tables)
    return _KEPT[tables]


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layout": {"tensor": {"tp": 2}}}, r"no dense_tp2\.csv.*those for tp = 1"),
        ({"layout": {"kv_parallel": {"kvp": 2}}}, "tensor parallelism alone, and the layout"),
        ({"layout": {"tensor": {"tp": 2, "sequence_parallel": True}}}, "without sequence_parallel"),
        ({"model": "qwen3-32b"}, "lacks 'qk_norm', and qwen3-32b is made of"),
        ({"model": "qwen3-30b-a3b"}, "one kind of layer.*qwen3-30b-a3b is not of this kind"),
        (
            {"model": "nemotron-3-super", "topology": "hgx_h200", "layout": {"tensor": {"tp": 2}}},
            "one kind of layer",
        ),
        (
            {"model": "deepseek-v3", "topology": "hgx_h200", "layout": {"tensor": {"tp": 8}}},
            "deepseek-v3 is not of this kind",
        ),
        ({"precision": {"weights": "fp8"}}, "tables are of bf16, but precision.weights is fp8"),
        ({"precision": {"kv": "fp8"}}, "tables are of bf16, but precision.kv is fp8"),
        ({"timer": {"weights": "fp8"}}, "tables are of fp8, but precision.weights is bf16"),
        ({"overlap": "nano_batches"}, "overlap: none"),
        ({"timer": {"engine_profile": "vllm-9"}}, "engine profile 'vllm-9' is not known"),
    ],
)
def test_what_the_tables_do_not_have_is_refused(
    tables: str, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(ScenarioError, match=says):
        compiled(tables, **({"topology": "dgx_h100"} | change))


def test_a_kind_of_layer_that_nobody_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"has 'moe', and llama-3\.1-8b is made of"):
        compiled(write_tables(tmp_path, moe=4.0))
    with pytest.raises(ScenarioError, match="lacks 'o_proj'"):
        compiled(write_tables(tmp_path, o_proj=None))


def test_tables_of_a_smaller_model_are_refused(tmp_path: Path) -> None:
    """They would read the weights faster than memory delivers them."""
    with pytest.raises(ScenarioError, match=r"smaller model than llama-3.1-8b.*TB/s"):
        compiled(write_tables(tmp_path, scale=0.1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tp,layer,tokens\n1,o_proj,1\n", "is no table with columns layer, tokens, time_us"),
        ("tp,layer,tokens,time_us\n1,o_proj,1,soon\n", "is no table with columns.*soon"),
        ("tp,layer,tokens,time_us\n1,o_proj,1,-3\n", "time_us has a number below 0"),
        ("tp,layer,tokens,time_us\n", "no rows"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str, says: str) -> None:
    folder = write_tables(tmp_path)
    (tmp_path / "dense_tp1.csv").write_text(text)
    with pytest.raises(ScenarioError, match=says):
        compiled(folder)


def test_an_attention_table_of_one_sort_of_batch_is_refused(tmp_path: Path) -> None:
    folder = write_tables(tmp_path)
    kept = [(1, 16, 0, 0, 0, 9.0), (1, 16, 64, 0, 0, 9.5)]
    names = ("tp", "prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    write(tmp_path / "attention_tp1.csv", names, kept)
    with pytest.raises(ScenarioError, match="no row of decodes alone"):
        compiled(folder)


def test_one_context_tells_a_constant() -> None:
    none = np.zeros(1)
    found = decode_tables(AttentionRows(none, none, none + 2, none + 64, none + 7e-6), 4)
    assert found.floor[2] == found.near[2] == found.far[2] == 7e-6
    assert found.near_key[2] == found.far_key[2] == 0.0


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="is no folder of layer tables"):
        compiled(str(tmp_path / "none"))
    with pytest.raises(ScenarioError, match=r"has no dense_tp1\.csv.*none of them at all"):
        compiled(str(tmp_path))


# --- against measurements ----------------------------------------------------------------------


def test_a_setting_of_another_timer_chooses_it() -> None:
    mine, later = "pools.serve.timer.measured.tables=x", "pools.serve.timer.measured.step_s=0"
    assert naming_timer((mine, later)) == ("pools.serve.timer=measured", mine, later)
    for kept in (
        ("pools.serve.layout=single",),
        ("pools.serve.timer.calibrated.cuda_graphs=false",),
        ("pools.serve.timer=roofline", "pools.serve.timer.roofline.host_s=0"),
    ):
        assert naming_timer(kept) == kept


@needs_data
@pytest.mark.data
def test_the_timer_is_near_the_grid_that_it_was_made_from() -> None:
    """Products and heads at their points exactly, attention within 5 % on average: 1 % of decodes,
    2 % of prompts, 4 % of both together."""
    change = f"pools.serve.timer={{measured: {{tables: {LAYERS}}}}}"
    groups = summarise(validate("steps", LAYERS, Options(limit=2000, overrides=(change,)), 0.0))
    mape = {g.group.split("TP1 ")[-1]: g.mape or 0.0 for g in groups if "TP1" in g.group}
    assert len(mape) == 5
    assert all(error < 0.05 for error in mape.values()), mape
    assert mape["weights and norms"] < 1e-4
    assert mape["decode attention of a layer"] < 0.02


@needs_data
@pytest.mark.data
def test_a_served_run_with_measured_layers_is_within_a_few_percent() -> None:
    """Source: LLMServingSim's served run and layer tables of one RTX PRO 6000 (see the data's
    README). What remains is mostly the spread of contexts in a batch, which makes attention
    longer than their mean tells; see docs/measured-tables.md."""
    change = f"pools.serve.timer.measured.tables={LAYERS}"
    rows = validate("run", SERVED, Options(overrides=(change,)), 0.0)
    means = [g for g in summarise(rows) if " mean " in g.group]
    mape = {g.group.split(" mean ")[1]: g.mape or np.inf for g in means}
    assert mape["TTFT"] < 0.10
    assert mape["TPOT"] < 0.03
    assert mape["latency"] < 0.05
