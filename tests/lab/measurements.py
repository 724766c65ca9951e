"""Small files of measurements, as `sim validate` reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

POINT = {
    "system": "h100_sxm", "backend": "vllm", "model_path": "meta-llama/Llama-3.1-8B-Instruct",
    "precision": "fp8", "isl": 256, "osl": 16, "tp_size": 1, "concurrency": 4.0,
    "silicon_ttft_ms": 20.0, "silicon_tpot_ms": 5.0, "source": "inferencex",
}  # fmt: skip


def points(folder: Path, *changes: dict[str, Any]) -> Path:
    """Load points, one for each of `changes`."""
    path = folder / "silicon_points_mine.csv"
    pd.DataFrame([POINT | c for c in changes]).to_csv(path, index=False)
    return path


def table(folder: Path, name: str = "gemm.csv", **columns: Any) -> Path:
    """A table of kernel times."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"gemm_dtype": "bfloat16", "m": [1, 1, 2, 4], "n": [64, 64, 64, 4096], "k": 64,
             "latency": [0.1, 0.3, 0.01, 1.0]}  # fmt: skip
    pd.DataFrame(plain | columns).to_csv(folder / name, index=False)
    return folder / name


def served(folder: Path, **arguments: Any) -> Path:
    """A run of two requests of which the second repeats the first."""
    folder = folder / "mine_rtxpro6000_tp1"
    folder.mkdir()
    engine = {"model": "meta-llama/Llama-3.1-8B", "max_num_seqs": 8, "max_num_batched_tokens": 4096}
    (folder / "engine.json").write_text(json.dumps({"engine_kwargs": engine | arguments}))
    asked = {"input_tokens": 3200, "output_tokens": 3, "prefix_blocks": list(range(200))}
    lines = [json.dumps({"arrival_s": t} | asked) for t in (0.0, 5.0)]
    (folder / "workload.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "requests.csv").write_text("ttft_ms,tpot_ms,e2e_ms\n50,12,74\n20,12,44\n")
    return folder
