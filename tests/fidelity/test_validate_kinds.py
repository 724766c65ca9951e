"""Files of measurements: what is read, what is played, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from lab.measurements import points, served, table

from sim.catalog.gpu import Gpu
from sim.errors import ScenarioError
from sim.fidelity.fits import Prediction
from sim.fidelity.groups import summarise
from sim.fidelity.hardware import engine_called, gpu_called, machine_with, model_called
from sim.fidelity.harness import Point
from sim.fidelity.kinds import Options, ops
from sim.fidelity.ops_tables import TABLES
from sim.fidelity.pricing import Priced
from sim.fidelity.serving import Server, play, scenario_of, work_out
from sim.fidelity.tables import spread
from sim.fidelity.validate import validate
from sim.perf.calibration import Calibration

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "e2e_serving").is_dir(),
    reason="the recorded measurements are not in ../shared/data",
)

# --- names -------------------------------------------------------------------------------------


def test_other_peoples_names_are_found_in_the_catalog() -> None:
    systems = ("h100_sxm", "a100_sxm", "a100-80gb", "B200_SXM")
    assert [gpu_called(n).name for n in systems] == ["h100", "a100-80", "a100-80", "b200"]
    models = ("meta-llama/Llama-3.1-8B-Instruct", "nvidia/Llama-3.1-8B-Instruct-FP8", "llama2-70b")
    assert [model_called(n) for n in models] == ["llama-3.1-8b", "llama-3.1-8b", "llama-2-70b"]
    assert engine_called("trtllm-1.3.0rc20") == "trtllm-1.3"


def test_servers_stand_in_a_machine_with_real_wires_where_there_is_one() -> None:
    assert machine_with("h100", 4) == "dgx_h100"
    assert machine_with("rtxpro6000", 2) is None


def test_a_sample_is_spread_over_the_file_and_always_the_same() -> None:
    assert spread(10, 3) == [0, 4, 9]
    assert spread(3, 5) == [0, 1, 2]


# --- points ------------------------------------------------------------------------------------


def test_inferencex_lengths_are_drawn_below_the_nominal_ones_and_others_are_constant() -> None:
    one: dict[str, Any] = {
        "gpu": "b200", "engine": "vllm", "model": "llama-3.1-70b", "weights": "fp8", "tp": 4,
        "ep": 1, "pp": 1, "dp": 1, "input_tokens": 1000, "output_tokens": 100, "concurrency": 8,
        "more": {},
        "profile": "vllm-0.24",
    }  # fmt: skip
    drawn = Point(source="inferencex", **one)
    assert drawn.lengths["prompt_tokens"] == {"uniform": {"min_tokens": 800, "max_tokens": 1000}}
    assert (drawn.settings()["max_num_seqs"], drawn.kv()) == (8, "fp8")
    plain = Point(source="", **one)
    assert plain.lengths["output_tokens"] == {"constant": {"tokens": 100}}
    assert (plain.settings()["max_num_seqs"], plain.kv()) == (1024, "bf16")


def test_a_load_point_is_played_and_its_latencies_compared(tmp_path: Path) -> None:
    rows = validate("points", points(tmp_path, {})).rows
    assert rows["metric"].tolist() == ["TTFT", "TPOT"]
    assert rows["measured_s"].tolist() == [0.02, 0.005]
    assert rows["group"].str.startswith("h100 vllm llama-3.1-8b fp8 TP1 (inferencex)").all()
    # at least the weights are read for every token, and not a hundred times
    assert (rows["predicted_s"] > 8e9 / 3.35e12).all()
    assert (rows["predicted_s"] < 0.2).all()


def test_the_engine_settings_of_a_row_count_before_the_defaults(tmp_path: Path) -> None:
    path = points(tmp_path, {"max_num_seqs": 1}, {"max_num_seqs": 4})
    rows = validate("points", path).rows
    one_by_one, together = rows.loc[rows["metric"] == "TTFT", "predicted_s"]
    assert one_by_one > 3 * together


def test_rows_that_cannot_be_played_are_outside_with_their_reason(tmp_path: Path) -> None:
    path = points(
        tmp_path, {}, {"model_path": "acme/unheard-of"}, {"backend": "mystery"},
        {"concurrency": np.nan}, {"precision": "fp13"}, {"attention_dp_size": 2},
        {"model_path": "meta-llama/Llama-3.1-70B", "precision": ""},
    )  # fmt: skip
    rows = validate("points", path).rows
    reasons = rows.loc[rows["metric"] == "TPOT", "outside"].tolist()
    assert reasons[0] == ""
    assert "acme/unheard-of" in reasons[1]
    assert "mystery" in reasons[2]
    assert reasons[3] == "no concurrency is given"
    assert "fp13" in reasons[4]
    assert "llama-3.1-8b has none" in reasons[5]
    assert "does not fit on h100" in reasons[6]
    assert sum(g.outside for g in summarise(validate("points", path)) if not g.is_total) == 12


def test_workers_change_nothing_but_the_wall_clock(tmp_path: Path) -> None:
    path = points(tmp_path, {}, {"concurrency": 2.0})
    alone = validate("points", path)
    with parallel_config("threading"):  # quicker to start than processes
        together = validate("points", path, Options(workers=2))
    pd.testing.assert_frame_equal(alone.rows, together.rows)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("pints", {}, "kind of measurement called 'pints'; did you mean 'points'"),
        ("points", {"engine": "vllm"}, "--engine has no effect on kind 'points'"),
        ("points", {"gpu": "h100"}, "--gpu has no effect"),
    ],
)
def test_options_without_effect_are_refused(
    tmp_path: Path, kind: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScenarioError, match=said):
        validate(kind, points(tmp_path, {}), Options(**changes))


def test_a_missing_or_misspelt_column_is_named(tmp_path: Path) -> None:
    path = points(tmp_path, {})
    path.write_text(path.read_text().replace("concurrency", "concurency"))
    with pytest.raises(ScenarioError, match=r"'concurrency'.*did you mean 'concurency'"):
        validate("points", path)
    path.write_text(points(tmp_path, {}).read_text().replace(",256,", ",many,"))
    with pytest.raises(ScenarioError, match="line 2, column isl: 'many' is not a whole number"):
        validate("points", path)
    with pytest.raises(ScenarioError, match="there is no file"):
        validate("points", tmp_path / "none.csv")


# --- steps -------------------------------------------------------------------------------------


def test_a_step_priced_by_hand_is_the_step_that_is_played() -> None:
    load = {
        "arrivals": "at_once", "requests": 4, "prompt_tokens": {"constant": {"tokens": 100}},
        "output_tokens": {"constant": {"tokens": 5}},
    }  # fmt: skip
    for model in ("llama-3.1-8b", "gpt-oss-120b"):
        server = Server("h200", model, "vllm-0.24")
        plan = work_out(server, scenario_of(server, load))
        played, priced = play(plan), Priced.of(plan)
        assert played.ttft_s == pytest.approx(priced.prompts_s(4, 100), rel=1e-12)
        assert played.tpot_s == pytest.approx(priced.decodes_s(4, 100, 4).mean(), rel=1e-12)


def test_decoding_across_a_window_is_priced_as_the_engine_counts_it() -> None:
    load = {
        "arrivals": "at_once", "requests": 3, "prompt_tokens": {"constant": {"tokens": 120}},
        "output_tokens": {"constant": {"tokens": 20}},
    }  # fmt: skip
    server = Server("h200", "gpt-oss-120b", "vllm-0.24")
    plan = work_out(server, scenario_of(server, load))
    by_hand = Priced.of(plan).decodes_s(3, 120, 19)
    assert play(plan).tpot_s == pytest.approx(by_hand.mean(), rel=1e-12)


def test_prompt_and_token_times_are_averaged_over_repeated_runs(tmp_path: Path) -> None:
    row = {
        "model": "llama2-70b", "hardware": "h100-80gb", "prompt_size": 512, "batch_size": 2,
        "token_size": 16, "prompt_time": 100.0, "token_time": 30.0, "tensor_parallel": 4,
    }  # fmt: skip
    path = tmp_path / "mine.csv"
    pd.DataFrame([row, row | {"prompt_time": 300.0}]).to_csv(path, index=False)
    rows = validate("steps", path).rows
    assert rows["measured_s"].tolist() == [0.2, 0.03]
    assert rows["metric"].tolist() == ["prompt time", "token time"]
    assert (rows["outside"] == "").all()


def test_layers_are_compared_as_a_whole_model(tmp_path: Path) -> None:
    folder = tmp_path / "rtxpro6000_llama31_8b"
    folder.mkdir()
    path = folder / "dense_tp1.csv"
    kinds = ["qkv_proj", "layernorm", "embedding"]
    pd.DataFrame({"layer": kinds, "tokens": 8, "time_us": [10.0, 1.0, 5.0]}).to_csv(path)
    rows = validate("steps", path).rows
    assert rows["measured_s"].tolist() == pytest.approx([(32 * (10 + 2 * 1) + 5) * 1e-6])
    assert rows["predicted_s"].iloc[0] > 16e9 * 0.8 / 1.6e12  # all but the head's weights are read


# --- ops ---------------------------------------------------------------------------------------


class Doubling:
    """Predicts twice the latency; wide products are outside."""

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        wide = table["n"] > 1000
        seconds = np.where(wide, np.nan, 2e-3 * table["latency"])
        return Prediction(
            seconds, "gemm " + table["gemm_dtype"], wide.map({True: "wide", False: ""})
        )


class Shelf:
    """The folder of fits with nothing but the one above."""

    def names(self, package: str) -> tuple[str, ...]:
        return ("gemm",)

    def load(self, package: str, name: str) -> type[Doubling]:
        return Doubling


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "plugins", Shelf())


@pytest.mark.usefixtures("doubling")
def test_tables_know_gpu_and_engine_from_their_folders_and_repeated_shapes_are_averaged(
    tmp_path: Path,
) -> None:
    path = table(tmp_path / "h100_sxm" / "trtllm-1.3.0rc20")
    groups = {g.group: g for g in summarise(validate("ops", path))}
    big, small = "h100 trtllm-1.3 gemm bfloat16", "h100 trtllm-1.3 gemm bfloat16 (under 20 µs)"
    assert groups.keys() == {big, small}
    assert (groups[big].rows, groups[big].outside, groups[big].mape) == (1, 1, pytest.approx(1.0))
    assert groups[big].reasons == {"wide": 1}
    assert groups[small].rows == 1
    rows = validate("ops", path).rows
    assert sorted(rows["measured_s"]) == pytest.approx([1e-5, 2e-4, 1e-3])


@pytest.mark.usefixtures("doubling")
def test_a_table_of_another_name_is_known_by_its_columns_with_gpu_and_engine_given(
    tmp_path: Path,
) -> None:
    path = table(tmp_path, "mine.csv")
    rows = validate("ops", path, Options(gpu="b200", engine="vllm-0.24")).rows
    assert rows["group"].str.startswith("b200 vllm-0.24 gemm").all()
    with pytest.raises(ScenarioError, match=r"is not in the catalog.*--gpu"):
        validate("ops", path)


@pytest.mark.usefixtures("doubling")
def test_every_row_of_a_table_that_no_model_predicts_is_outside(tmp_path: Path) -> None:
    folder = tmp_path / "h100_sxm" / "vllm-0.24.0"
    table(folder)
    columns = dict.fromkeys(TABLES["moe"], 1) | {"moe_dtype": "fp8", "distribution": "even"}
    pd.DataFrame([columns | {"latency": 1.0}]).to_csv(folder / "moe.csv", index=False)
    groups = {g.group: g for g in summarise(validate("ops", tmp_path))}
    assert groups["h100 vllm-0.24 moe"].reasons == {"no model predicts a table 'moe'": 1}
    assert groups["h100 vllm-0.24 gemm bfloat16"].rows == 1


def test_dispatch_and_combine_are_timed_together(tmp_path: Path) -> None:
    columns = dict.fromkeys(TABLES["deepep_normal"], 8) | {"system": "h100_sxm"}
    times = {"dispatch_transmit_us": 30, "dispatch_notify_us": 5, "combine_transmit_us": 50}
    path = tmp_path / "deepep_normal.csv"
    pd.DataFrame([columns | times | {"combine_notify_us": 0}]).to_csv(path, index=False)
    assert validate("ops", path).rows["measured_s"].tolist() == pytest.approx([85e-6])


# --- run ---------------------------------------------------------------------------------------


def test_a_run_is_replayed_with_its_prefixes_and_every_latency_compared(tmp_path: Path) -> None:
    rows = validate("run", served(tmp_path)).rows
    metrics = rows.groupby("metric", sort=False)
    assert metrics.size().to_dict() == {
        "TTFT of requests": 2, "mean TTFT": 1, "TPOT of requests": 2, "mean TPOT": 1,
        "latency of requests": 2, "mean latency": 1,
    }  # fmt: skip
    first, second = metrics.get_group("TTFT of requests")["predicted_s"]
    assert second < 0.5 * first  # its prompt is in the cache
    assert metrics.get_group("mean TTFT")["predicted_s"].iloc[0] == (first + second) / 2


def test_engine_arguments_that_are_not_replayed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="speculative_model = 'x' is not replayed"):
        validate("run", served(tmp_path, speculative_model="x"))


@pytest.mark.data
@needs_data
def test_the_recorded_run_on_one_card_is_replayed_within_its_targets() -> None:
    """LLMServingSim's own run of vLLM 0.19 on one RTX PRO 6000."""
    groups = {g.group.split("TP1 ")[1]: g for g in summarise(validate("run", DATA / "e2e_serving"))}
    for metric, bound in (("mean TTFT", 0.15), ("mean TPOT", 0.12), ("mean latency", 0.12)):
        mape = groups[metric].mape
        assert mape is not None
        assert mape < bound, metric


@pytest.mark.data
@needs_data
def test_recorded_load_points_of_every_engine_can_be_played() -> None:
    compared = validate("points", DATA / "e2e_serving", Options(limit=12))
    rows = compared.rows
    assert (rows["outside"] == "").all()
    assert {"vllm", "trtllm", "sglang"} <= set(rows["group"].str.split(" ").str[1])
    total = next(g for g in summarise(compared) if g.group == "all TPOT")
    assert total.median_ape is not None
    assert total.median_ape < 0.4
