"""Times of whole steps and of layers, priced by hand: nothing is played.

Three sorts of CSV, told apart by their columns:

- Prompt and token times (splitwise-sim, `data/perf_model.csv`): `model, hardware, prompt_size,
  batch_size, token_size, prompt_time, token_time, tensor_parallel`; milliseconds. A prompt time is
  one pass over the batch, a token time the mean of the decode steps that follow.
- Layer times (LLMServingSim's profiles): `layer, tokens, time_us` or `layer, sequences, time_us`.
- Attention times of mixed batches: `prefill_chunk, kv_prefill, n_decode, kv_decode, time_us`.

Model and GPU of the last two are in the name of their folder (`rtxpro6000_llama31_8b`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from sim.errors import ScenarioError
from sim.fidelity.comparison import Comparison
from sim.fidelity.hardware import agree, gpu_called, is_gpu, model_called
from sim.fidelity.harness import PROFILES
from sim.fidelity.kinds import Options
from sim.fidelity.pricing import Priced
from sim.fidelity.serving import Server, reason, scenario_of, work_out
from sim.fidelity.tables import read_table, require, require_times, require_whole, spread

BATCHES = ("model", "hardware", "prompt_size", "batch_size", "token_size", "prompt_time",
           "token_time", "tensor_parallel")  # fmt: skip
LAYERS = ("layer", "tokens", "time_us")
HEADS = ("layer", "sequences", "time_us")
MIXED = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
SORTS = {"prompt and token times": BATCHES, "layer times": LAYERS,
         "times per sequence": HEADS, "attention times": MIXED}  # fmt: skip

OLD, NEW = "vllm-2023", PROFILES["vllm"]
"""Whose kernels and host: Splitwise measured vLLM of 2023, LLMServingSim vLLM of today."""

ONCE = ("embedding", "final_layernorm")
"""Layer kinds of which a model has one."""
TWICE = ("layernorm",)
"""Kinds of which a layer has two."""

ANY_LOAD = {
    "arrivals": "at_once",
    "requests": 1,
    "prompt_tokens": {"constant": {"tokens": 1}},
    "output_tokens": {"constant": {"tokens": 1}},
}
"""A load for a plan that is only priced."""


class Steps:
    """Groups: GPU, model, layout, and prompt, token, layer or attention time."""

    meaning: ClassVar[str] = "prompt and token times, layer times (step_times/*.csv)"
    takes: ClassVar[frozenset[str]] = frozenset({"gpu", "limit", "overrides"})

    def files(self, folder: Path) -> list[Path]:
        """CSV files whose header is one of the three sorts."""
        return [p for p in sorted(folder.rglob("*.csv*")) if _sort_of(p) is not None]

    def compare(self, path: Path, options: Options) -> Comparison:
        """Price every row; ScenarioError when the file is of none of the sorts."""
        table = read_table(path, ("model", "hardware", "layer"))
        sort = next((s for s, c in SORTS.items() if set(c) <= set(table.columns)), None)
        if sort is None:
            require(path, table, BATCHES, "a file of prompt and token times")
        counts = [c for c in SORTS[str(sort)] if c not in (*_WORDS, *_TIMES)]
        require_whole(path, table, counts, least=0 if sort == "attention times" else 1)
        require_times(path, table, [c for c in _TIMES if c in SORTS[str(sort)]])
        if sort == "prompt and token times":
            if options.gpu is not None:
                raise ScenarioError(
                    f"--gpu has no effect on '{path}', whose rows name their own; leave it out"
                )
            return _batches(path, table, options)
        gpu, model = _named(path, options)
        size = {"layer times": "tokens", "times per sequence": "sequences"}.get(str(sort))
        if size is not None:
            return _layers(path, table, size, gpu, model, options)
        return _mixed(path, table, gpu, model, options)


_WORDS = ("model", "hardware", "layer")
_TIMES = ("prompt_time", "token_time", "time_us")


def _sort_of(path: Path) -> str | None:
    """By the header alone; None for files of something else."""
    try:
        header = set(pd.read_csv(path, nrows=0).columns)
    except (OSError, ValueError, EOFError):
        return None
    return next((s for s, columns in SORTS.items() if set(columns) <= header), None)


def _named(path: Path, options: Options) -> tuple[str, str]:
    """GPU and model, from the folder's name."""
    head, _, tail = path.resolve().parent.name.partition("_")
    if options.gpu is not None and is_gpu(head):
        agree(path, "--gpu", gpu_called(options.gpu).name, gpu_called(head).name)
    try:
        return gpu_called(options.gpu or head).name, model_called(tail)
    except ScenarioError as mistake:
        raise ScenarioError(
            f"the folder of '{path}' must be named GPU_MODEL, as in rtxpro6000_llama31_8b: "
            f"{mistake}"
        ) from None


def _priced(server: Server, options: Options) -> Priced:
    return Priced.of(work_out(server, scenario_of(server, ANY_LOAD, options.overrides)))


def _server(gpu: str, model: str, profile: str, tp: int, tokens: int, sequences: int) -> Server:
    engine = {"max_num_batched_tokens": max(tokens, sequences), "max_num_seqs": sequences}
    return Server(gpu, model, profile, tp, precision={"weights": "bf16"}, engine=engine)


# --- prompt and token times --------------------------------------------------------------------


def _batches(path: Path, table: pd.DataFrame, options: Options) -> Comparison:
    """Repeated runs of a point are averaged first."""
    keys = ["model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size"]
    means = table.groupby(keys, sort=False)[["prompt_time", "token_time"]].mean().reset_index()
    means = means.iloc[spread(len(means), options.limit)].reset_index(drop=True)
    parts = []
    for _, part in means.groupby(keys[:3], sort=False):
        model, hardware, tp = (part[c].iloc[0] for c in keys[:3])
        parts += _batch_group(path, part, str(model), str(hardware), int(tp), options)
    return Comparison.join(parts)


def _batch_group(
    path: Path, part: pd.DataFrame, model: str, hardware: str, tp: int, options: Options
) -> list[Comparison]:
    """All points of one server: prompt times, then token times."""
    batch, prompt = part["batch_size"].astype(int), part["prompt_size"].astype(int)
    prompts = np.full(len(part), np.nan)
    tokens, outside, name = prompts.copy(), "", f"{hardware} {model}"
    try:
        gpu, known = gpu_called(hardware).name, model_called(model)
        name = f"{gpu} {known}"
        most = int((batch * prompt).max())
        priced = _priced(_server(gpu, known, OLD, tp, most, int(batch.max())), options)
    except ScenarioError as mistake:
        outside = reason(mistake)
    else:
        steps = part["token_size"].astype(int) - 1
        prompts = np.array([priced.prompts_s(b, p) for b, p in zip(batch, prompt, strict=True)])
        runs = zip(batch, prompt, steps, strict=True)
        tokens = np.array([float(priced.decodes_s(b, p, max(n, 1)).mean()) for b, p, n in runs])
    what = [
        f"batch {b}, prompt {p}, {n} tokens out"
        for b, p, n in zip(batch, prompt, part["token_size"], strict=True)
    ]
    common: dict[str, Any] = {"kind": "steps", "file": path.name, "what": what}
    common["outside"] = [outside] * len(part)
    return [
        Comparison.of(
            group=f"{name} bf16 TP{tp} {word} time", metric=f"{word} time",
            measured_s=part[f"{word}_time"].to_numpy(dtype=float) / 1e3, predicted_s=found,
            **common,
        )
        for word, found in (("prompt", prompts), ("token", tokens))
    ]  # fmt: skip


# --- layers ------------------------------------------------------------------------------------


def _layers(
    path: Path, table: pd.DataFrame, size: str, gpu: str, model: str, options: Options
) -> Comparison:
    """All layer kinds of one size put together are one row: a whole model without attention
    (by tokens), or head and sampler (by sequences)."""
    sums = table.pivot_table(index=size, columns="layer", values="time_us", aggfunc="mean")
    sums = sums.iloc[spread(len(sums), options.limit)]
    counts = sums.index.to_numpy(dtype=np.int64)
    most = int(counts.max())
    priced = _priced(_server(gpu, model, NEW, 1, most, most), options)
    by_tokens = size == "tokens"
    column = "prefill_tokens" if by_tokens else "sampled"
    seconds = priced.causes({column: counts})["linear_s"]
    nothing = priced.causes({"sampled": np.zeros(1, dtype=np.int64)})["linear_s"][0]
    times = {k: priced.layers * (1 + (k in TWICE)) for k in sums.columns if k not in ONCE}
    measured = sum(sums[k] * (times.get(k, 1) if by_tokens else 1) for k in sums.columns)
    what = "weights and norms" if by_tokens else "head and sampler"
    return Comparison.of(
        kind="steps",
        group=f"{gpu} {model} bf16 TP1 {what}",
        metric=what,
        what=[f"{n} {size}" for n in counts],
        file=f"{path.parent.name}/{path.name}",
        measured_s=np.asarray(measured, dtype=float) / 1e6,
        predicted_s=seconds - nothing,
    )


def _mixed(path: Path, table: pd.DataFrame, gpu: str, model: str, options: Options) -> Comparison:
    """Attention of one layer, for a prompt chunk and decodes in one pass."""
    table = table.iloc[spread(len(table), options.limit)]
    chunk, cached, decodes, context = (
        table[c].to_numpy(dtype=np.int64) for c in MIXED if c != "time_us"
    )
    has = (chunk > 0).astype(np.int64)
    most = int((chunk + decodes).max())
    priced = _priced(_server(gpu, model, NEW, 1, most, int((decodes + has).max())), options)
    seconds = priced.causes(
        {
            "decodes": decodes,
            "context_tokens": decodes * context,
            "prefills": has,
            "prefill_tokens": chunk,
            "prefill_pairs": chunk * cached + chunk * (chunk + 1) // 2,
            "prefill_kv_tokens": (cached + chunk) * has,
        }
    )["attention_s"]
    sort = np.where(decodes == 0, "prefill", np.where(chunk == 0, "decode", "mixed"))
    return Comparison.of(
        kind="steps",
        group=[f"{gpu} {model} bf16 TP1 {s} attention of a layer" for s in sort],
        metric=[f"{s} attention of a layer" for s in sort],
        what=[
            f"chunk {c} behind {o}, {n} decodes of {k}"
            for c, o, n, k in zip(chunk, cached, decodes, context, strict=True)
        ],
        file=f"{path.parent.name}/{path.name}",
        measured_s=table["time_us"].to_numpy(dtype=float) / 1e6,
        predicted_s=seconds / priced.layers,
    )
