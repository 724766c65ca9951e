"""One served run, request by request: the same requests replayed, and every latency compared.

A folder as LLMServingSim's benchmarks leave it: `engine.json` (the engine's arguments),
`workload.jsonl.gz` (what was asked: see the reader `llmservingsim`) and `requests.csv` (what was
measured: `ttft_ms, tpot_ms, e2e_ms`, one row per request in the order of the workload).

Steps are priced by `calibrated`; `--set pools.serve.timer.measured.tables=FOLDER` plays with layer
tables measured on the same GPU instead (`docs/measured-tables.md`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from sim.catalog.files import names
from sim.errors import ScenarioError
from sim.fidelity.comparison import Comparison
from sim.fidelity.hardware import agree, gpu_called, model_called
from sim.fidelity.harness import PROFILES
from sim.fidelity.kinds import Options
from sim.fidelity.serving import Latencies, Server, play, scenario_of, work_out
from sim.fidelity.tables import near, read_table, require, require_numbers, require_times

ENGINE, REQUESTS, WORKLOADS = "engine.json", "requests.csv", "workload.jsonl*"
METRICS = {"TTFT": "ttft_ms", "TPOT": "tpot_ms", "latency": "e2e_ms"}
SETTINGS = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size",
            "gpu_memory_utilization", "enable_prefix_caching")  # fmt: skip
"""Engine arguments that mean the same in a scenario."""

KNOWN = {"model", "tensor_parallel_size", "data_parallel_size", "enable_expert_parallel", "dtype",
         "kv_cache_dtype", "seed", *SETTINGS}  # fmt: skip
TIMER = "pools.serve.timer"
"""Where the timer of the replayed scenario stands; it is `calibrated` unless chosen otherwise."""
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16"}


class Run:
    """Groups: each latency of the requests, and the mean of each latency."""

    meaning: ClassVar[str] = f"a served run ({ENGINE}, {WORKLOADS}, {REQUESTS})"
    takes: ClassVar[frozenset[str]] = frozenset({"gpu", "overrides"})

    def files(self, folder: Path) -> list[Path]:
        """Files called `requests.csv` that have an `engine.json` beside them."""
        found = [p for p in folder.rglob(REQUESTS) if (p.parent / ENGINE).is_file()]
        return sorted(found)

    def compare(self, path: Path, options: Options) -> Comparison:
        """Replay the run; any of its three files names it. ScenarioError when one is missing."""
        folder = path.parent
        measured = _requests(folder / REQUESTS)
        arguments = _arguments(folder / ENGINE)
        workloads = sorted(folder.glob(WORKLOADS))
        if not workloads:
            raise ScenarioError(
                f"the folder '{folder}' has no {WORKLOADS}; a run needs what it asked"
            )
        server = _server(folder, arguments, options)
        workload = {"path": str(workloads[0].resolve())}
        changes = naming_timer(options.overrides)
        found = play(work_out(server, scenario_of(server, workload, changes)))
        if found.lost or len(found.request) != len(measured):
            raise ScenarioError(
                f"'{workloads[0]}' has {len(found.request) + found.lost} requests, of which "
                f"{found.lost} do not fit, and '{folder / REQUESTS}' has {len(measured)}; "
                "give both files the same requests"
            )
        text = f"{server.gpu} vllm {server.model} {server.precision['weights']} TP{server.tp}"
        return _compared(text, measured, found)


def naming_timer(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides, with the timer chosen before the first setting of another one than
    `calibrated`: `pools.serve.timer.measured.tables=…` is enough to have `measured`."""
    for i, text in enumerate(overrides):
        path = text.partition("=")[0].strip()
        if path == TIMER:
            break
        name = path.removeprefix(f"{TIMER}.").partition(".")[0]
        if path.startswith(f"{TIMER}.") and name != "calibrated":
            return (*overrides[:i], f"{TIMER}={name}", *overrides[i:])
    return tuple(overrides)


def _requests(path: Path) -> pd.DataFrame:
    table = read_table(path)
    require(path, table, METRICS.values(), "a served run")
    require_times(path, table, [METRICS[m] for m in ("TTFT", "latency")])
    require_numbers(path, table, [METRICS["TPOT"]])  # 0 for an answer of one token
    return table


def _arguments(path: Path) -> dict[str, Any]:
    """The engine's arguments; those that mean nothing here are refused unless they say nothing."""
    if not path.is_file():
        raise ScenarioError(f"there is no file '{path}'{near(path)}")
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        arguments: dict[str, Any] = written["engine_kwargs"]
        str(arguments["model"])
    except (ValueError, KeyError, TypeError) as problem:
        raise ScenarioError(
            f"'{path}' is not the description of an engine ({problem!r}); it needs engine_kwargs "
            "with model, max_num_seqs and max_num_batched_tokens"
        ) from None
    for name, value in arguments.items():
        if name not in KNOWN and value not in (None, False):
            raise ScenarioError(
                f"'{path}': the engine argument {name} = {value!r} is not replayed; leave it out "
                "if it changes no time"
            )
    if arguments.get("data_parallel_size", 1) != 1 or arguments.get("enable_expert_parallel"):
        raise ScenarioError(f"'{path}': data and expert parallelism are not replayed by this kind")
    return arguments


def _server(folder: Path, arguments: dict[str, Any], options: Options) -> Server:
    engine = {n: arguments[n] for n in SETTINGS if arguments.get(n) is not None}
    dtype, kv = str(arguments.get("dtype", "auto")), str(arguments.get("kv_cache_dtype", "auto"))
    weights = DTYPES.get(dtype, "bf16")
    return Server(
        gpu=_gpu(folder, options),
        model=model_called(str(arguments["model"])),
        profile=PROFILES["vllm"],
        tp=int(arguments.get("tensor_parallel_size", 1)),
        precision={"weights": weights, "kv": "fp8" if kv.startswith("fp8") else weights},
        engine=engine,
    )


def _gpu(folder: Path, options: Options) -> str:
    """The GPU, as the folder's name says or as given; ScenarioError where they disagree."""
    words = folder.resolve().name.lower().split("_")
    there = next((gpu for gpu in names("gpus", ".yaml") if gpu in words), None)
    if options.gpu is None:
        if there is None:
            raise ScenarioError(f"the folder '{folder.name}' names no GPU; say which with --gpu")
        return there
    given = gpu_called(options.gpu).name
    if there is not None:
        agree(folder, "--gpu", given, there)
    return given


def _compared(text: str, measured: pd.DataFrame, found: Latencies) -> Comparison:
    """Every request, then the means."""
    predicted = {"TTFT": found.ttft_s, "TPOT": found.tpot_s, "latency": found.e2e_s}
    parts = []
    for metric, column in METRICS.items():
        seconds = measured[column].to_numpy(dtype=float) / 1e3
        common: dict[str, Any] = {"kind": "run", "file": REQUESTS}
        parts.append(
            Comparison.of(
                group=f"{text} {metric} of requests", metric=f"{metric} of requests",
                what=[f"request {i}" for i in range(len(seconds))],
                measured_s=seconds, predicted_s=predicted[metric], **common,
            )
        )  # fmt: skip
        parts.append(
            Comparison.of(
                group=f"{text} mean {metric}", metric=f"mean {metric}",
                what=[f"mean of {len(seconds)} requests"], measured_s=[seconds.mean()],
                predicted_s=[float(np.nanmean(predicted[metric]))], **common,
            )
        )  # fmt: skip
    return Comparison.join(parts)
