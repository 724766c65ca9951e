"""Small measured tables, made of surfaces with noise."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from sim.catalog.formats import FORMATS
from sim.catalog.gpu import load_gpu
from sim.fidelity.fits.context_mla import ContextMla
from sim.perf.surfaces.gemm import Gemm

H100 = load_gpu("h100")
TOKENS = (1, 8, 32, 128, 512, 1024, 4096, 16384)
WIDTHS = (512, 1024, 4096, 8192, 16384)
NOISE = 0.02


def gemm_table(surface: Gemm) -> pd.DataFrame:
    """Products in bf16 on an H100, with 2 % of noise."""
    m, n, k = np.array(list(product(TOKENS, WIDTHS, WIDTHS)), float).T
    ms = surface.seconds(H100, FORMATS["bf16"], m, n, k) * 1e3 * _noise(len(m))
    return pd.DataFrame({"gemm_dtype": "bfloat16", "m": m, "n": n, "k": k, "latency": ms})


def mla_table() -> pd.DataFrame:
    """Latent prefill on an H100 with the figures that are assumed without a table."""
    shapes = list(product((16, 32, 128), (1, 2, 4, 16, 64), (128, 512, 1024, 4096)))
    table = pd.DataFrame(shapes, columns=["num_heads", "batch_size", "isl"])
    table = table.assign(
        kernel_source="x", mla_dtype="bfloat16", kv_cache_dtype="bfloat16", step=0, latency=1.0
    )
    seconds = ContextMla().predict(table, H100, None).seconds
    return table.assign(latency=seconds * 1e3 * _noise(len(table)))


def _noise(rows: int) -> np.ndarray:
    return 1.0 + NOISE * np.random.default_rng(3).standard_normal(rows)


def ops(folder: Path, **tables: pd.DataFrame) -> Path:
    """`FOLDER/h100_sxm/mine-1.2.3/TABLE.csv.gz` of each table."""
    place = folder / "h100_sxm" / "mine-1.2.3"
    place.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(place / f"{name}.csv.gz", index=False)
    return folder
