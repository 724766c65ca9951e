"""The catalog as rows for a table or JSON."""

from __future__ import annotations

import json
import subprocess
import sys

from sim.catalog.formats import PATTERNS, format_names, load_format
from sim.catalog.gpu import gpu_names
from sim.catalog.listing import format_rows, gpu_rows, model_rows
from sim.catalog.model import model_names


def test_every_entry_of_the_catalog_has_a_row() -> None:
    assert [row["name"] for row in gpu_rows()] == list(gpu_names())
    assert [row["name"] for row in model_rows()] == list(model_names())
    names = [row["name"] for row in format_rows()]
    assert names[: len(format_names())] == list(format_names())


def test_forms_that_a_user_may_write_are_listed_by_an_example_each() -> None:
    examples = [r for r in format_rows() if str(r["source"]).startswith("written as")]
    assert len(examples) == len(PATTERNS)
    assert all(load_format(str(row["name"])).bits == row["bits"] for row in examples)


def test_a_formats_row_names_the_gpus_with_units_for_it() -> None:
    rows = {row["name"]: row for row in format_rows()}
    assert "h100" not in rows["nvfp4"]["gpus"]
    assert "b200" in rows["nvfp4"]["gpus"]
    assert "a100-80" not in rows["fp8"]["gpus"]
    assert rows["mx9"]["gpus"] == []
    assert rows["mx9"]["stored_only"]
    assert rows["bf16"]["gpus"] == list(gpu_names())


def test_rows_are_plain_data_with_sources() -> None:
    for rows in (gpu_rows(), model_rows(), format_rows()):
        assert json.loads(json.dumps(rows)) == rows
        assert all(row.get("source") or row.get("sources") for row in rows)


def test_a_models_row_holds_its_counts() -> None:
    row = next(r for r in model_rows() if r["name"] == "gpt-oss-120b")
    assert row["attention"] == "GQA 64 / 8"
    assert row["window_tokens"] == [128]
    assert row["experts"] == "128 / 4"
    assert row["kv_bytes_per_token_bf16"] == 73_728
    kinds = {r["name"]: r["attention"] for r in model_rows()}
    assert kinds["deepseek-v3"] == "MLA"
    assert kinds["deepseek-v3.2"] == "DSA 2048"
    assert kinds["bloom-176b"] == "MHA 112 / 112"
    assert kinds["nemotron-3-super"] == "40 × Mamba-2, 8 × GQA 32 / 2"
    assert kinds["qwen3-next-80b-a3b"] == "36 × Gated DeltaNet, 12 × GQA 16 / 2"


def test_a_gpus_row_names_its_guesses() -> None:
    assumed = {row["name"]: row["assumed"] for row in gpu_rows()}
    assert sorted(assumed["gb200"]) == ["l2_bytes", "network_bytes_per_s", "sm_count"]
    assert assumed["h100"] == []


def test_the_catalog_needs_no_simulation_library() -> None:
    script = (
        "import sys; import sim.catalog.listing as c; c.model_rows(), c.gpu_rows();"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'simpy', 'numpy', 'pandas'}));"
        "print(sorted(m for m in sys.modules if m.startswith('sim.') and m.count('.') == 1))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    libraries, modules = ran.stdout.splitlines()
    assert libraries == "[]"
    assert modules == "['sim.catalog', 'sim.errors', 'sim.units']"
