"""GPUs of the catalog, and a user's own GPU file."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import yaml

from sim.catalog.files import CATALOG
from sim.catalog.gpu import gpu_names, load_gpu
from sim.errors import ScenarioError

SPECS = Path(__file__).parents[3] / "shared/data/ops/hardware_specs.csv"


def own_file(folder: Path, **changes: object) -> Path:
    """A user's copy of the H100 with some keys changed (None takes a key out)."""
    table = yaml.safe_load((CATALOG / "gpus/h100.yaml").read_text())
    for key, value in changes.items():
        if value is None:
            del table[key]
        else:
            table[key] = value
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(table))
    return path


def test_the_catalog_holds_the_gpus_that_clusters_are_built_of() -> None:
    assert set(gpu_names()) == {
        "a100-40", "a100-80", "h20", "h100", "h200", "h800", "b200", "b300", "gb200", "gb300",
        "mi300x", "mi355x", "rtxpro6000",
    }  # fmt: skip


@pytest.mark.parametrize("name", gpu_names())
def test_every_gpu_has_its_file_name_and_a_source_for_every_figure(name: str) -> None:
    gpu = load_gpu(name)
    assert gpu.name == name
    for figure in ("hbm_bytes", "hbm_bytes_per_s", "network_bytes_per_s", "power_w"):
        assert len(gpu.sources[figure]) > 5
    # what any of these can be: a slip of a prefix (TB for GB) falls outside
    assert 30e9 < gpu.hbm_bytes < 400e9
    assert 1e12 < gpu.hbm_bytes_per_s < 10e12
    assert 10e9 <= gpu.pcie_bytes_per_s <= gpu.scale_up_bytes_per_s < gpu.hbm_bytes_per_s
    assert gpu.flops_per_s["bf16"] == gpu.flops_per_s["fp16"]
    assert gpu.flops_per_s["fp32"] < gpu.flops_per_s["bf16"] < 4e15


def test_a_roofline_ridge_of_the_h100_is_295_flops_per_byte() -> None:
    h100 = load_gpu("h100")
    assert h100.flops_per_s["bf16"] / h100.hbm_bytes_per_s == pytest.approx(989e12 / 3.35e12)
    assert h100.scale_up_bytes_per_s == 450e9
    assert h100.power_w == 700


def test_the_gigabytes_of_hbm_are_binary() -> None:
    assert load_gpu("h100").hbm_bytes == 80 * 2**30
    assert load_gpu("gb200").hbm_bytes == 189_471 * 2**20


@pytest.mark.data
@pytest.mark.skipif(not SPECS.exists(), reason="needs ../shared/data/ops/hardware_specs.csv")
def test_figures_agree_with_the_recorded_system_files() -> None:
    names = {"a100_sxm": "a100-80", "h100_sxm": "h100", "h200_sxm": "h200", "b200_sxm": "b200"}
    with SPECS.open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["system"] for row in rows} == set(names)
    for row in rows:
        gpu = load_gpu(names[row["system"]])
        figures = {
            "gpu.mem_capacity": gpu.hbm_bytes,
            "gpu.mem_bw": gpu.hbm_bytes_per_s,
            "node.intra_node_bw": gpu.scale_up_bytes_per_s,
            "gpu.power": gpu.power_w,
            "gpu.bfloat16_tc_flops": gpu.flops_per_s["bf16"],
            "gpu.int8_tc_flops": gpu.flops_per_s["int8"],
            "gpu.fp8_tc_flops": gpu.flops_per_s.get("fp8"),
            "gpu.fp4_tc_flops": gpu.flops_per_s.get("fp4"),
        }
        recorded = {column: float(row[column]) for column in figures if row[column]}
        stated = {column: figure for column, figure in figures.items() if figure is not None}
        assert stated == pytest.approx(recorded, rel=1e-12)


@pytest.mark.parametrize("spelling", ("H100", " h100 ", "h100"))
def test_case_and_blanks_of_a_name_do_not_matter(spelling: str) -> None:
    assert load_gpu(spelling) is load_gpu("h100")


def test_an_underscore_is_a_dash() -> None:
    assert load_gpu("A100_80").name == "a100-80"


def test_a_typo_is_answered_with_a_suggestion() -> None:
    with pytest.raises(ScenarioError, match=r"GPU 'h1000' is neither .* did you mean 'h100'"):
        load_gpu("h1000")


def test_a_users_own_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = own_file(tmp_path, name="h100-oc", power_w="0.8 kW")
    gpu = load_gpu(str(path))
    assert (gpu.name, gpu.power_w) == ("h100-oc", 800.0)
    own_file(tmp_path, name="h100-oc", power_w="600 W")
    assert load_gpu(str(path)).power_w == 600.0


def test_guesses_are_found_by_their_mark() -> None:
    assert set(load_gpu("gb200").assumptions) == {"network_bytes_per_s", "sm_count", "l2_bytes"}
    assert load_gpu("h100").assumptions == {}


def test_equal_gpus_have_equal_hashes(tmp_path: Path) -> None:
    mine = load_gpu(str(own_file(tmp_path)))
    assert mine == load_gpu("h100")
    assert hash(mine) == hash(load_gpu("h100"))


def without(mapping: str, key: str) -> dict[str, str]:
    table = yaml.safe_load((CATALOG / "gpus/h100.yaml").read_text())[mapping]
    return {k: v for k, v in table.items() if k != key}


@pytest.mark.parametrize(
    "changes, words",
    (
        ({"hbm_bytes": "80 GB/s"}, "'hbm_bytes': '80 GB/s' has the unit 'GB/s'"),
        ({"hbm_bytes": "eighty"}, "'hbm_bytes': 'eighty' is not a quantity"),
        ({"hbm_bytes": 80}, "'hbm_bytes: 80' has no unit; write for example '80 GB'"),
        ({"hbm_bytes": "80"}, "'hbm_bytes: 80' has no unit"),
        ({"power_w": "-5 W"}, "'power_w: -5 W' must be positive"),
        ({"power_w": None}, "'power_w' is missing"),
        ({"hbm_byte": "80 GB"}, "'hbm_byte: 80 GB' is no key of the GPU; did you mean 'hbm_bytes'"),
        ({"scale_up_domain": 7.5}, "'scale_up_domain: 7.5' must be a whole number"),
        ({"scale_up_domain": True}, "'scale_up_domain: True' must be a whole number"),
        ({"scale_up_domain": 0}, "'scale_up_domain: 0' must be a whole number, 1 or more"),
        ({"name": 100}, "'name: 100' must be text"),
        ({"flops_per_s": "989 TFLOP/s"}, "'flops_per_s' must map number formats"),
        ({"flops_per_s": {"bf17": "1 TFLOP/s"}}, "'bf17: 1 TFLOP/s' is no key of flops_per_s"),
        ({"flops_per_s": {"bf16": "1 TB/s"}}, "'flops_per_s.bf16': '1 TB/s' has the unit 'TB/s'"),
        ({"sources": without("sources", "power_w")}, "'sources.power_w' is missing"),
        ({"sources": without("sources", "flops_per_s")}, "'sources.flops_per_s.bf16' is missing"),
        ({"sources": without("sources", "") | {"colour": "x"}}, "'colour: x' is no key of sources"),
        ({"sources": ["a data sheet"]}, "'sources' must map figures"),
    ),
)
def test_a_wrong_figure_is_refused_with_file_key_and_value(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = own_file(tmp_path, **changes)
    with pytest.raises(ScenarioError) as refused:
        load_gpu(str(path))
    assert words in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text, words",
    (
        ("name: [h100", "is not valid YAML"),
        ("", "this holds None"),
        ("- h100\n", "this holds ['h100']"),
    ),
)
def test_a_torn_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "torn.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as refused:
        load_gpu(str(path))
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_folder_or_binary_is_no_gpu_file(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_gpu(str(tmp_path))
    path = tmp_path / "gpu.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="is not text in UTF-8"):
        load_gpu(str(path))


def test_no_figure_of_the_catalog_is_infinite() -> None:
    for name in gpu_names():
        assert all(math.isfinite(peak) for peak in load_gpu(name).flops_per_s.values())
