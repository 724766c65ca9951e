"""Speculative decoding: speed-ups over plain runs, and acceptance lengths by draft length.

Two sorts of CSV, told apart by their columns:

- SpecForge's results: `model, benchmark, batch_size, steps, topk, num_draft_tokens, draft,
  output_throughput_tok_s, accept_length`; `draft` is `none` for the plain run of a group. Predicted
  from the acceptance length that was measured: the speed-up over the plain run. Predicted from the
  lengths of chains of 3 and 7: those of 5, and of trees.
- Acceptance lengths (InferenceX `golden_al_distribution`): `model, method, thinking,
  num_speculative_tokens, acceptance_length`. Those of 1, 3 and 7 drafts are fitted, the others
  predicted.

All values are ratios, not seconds. `sign of the speed-up` has an error of 1 where prediction and
measurement disagree on whether speculation pays, else 0: its MAPE is the share that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from sim.errors import ScenarioError
from sim.fidelity.comparison import Comparison
from sim.fidelity.hardware import gpu_called
from sim.fidelity.kinds import Options
from sim.fidelity.serving import reason
from sim.fidelity.speculated import catalog_model, server_of, with_the_rest
from sim.fidelity.tables import read_table, require, require_numbers, spread
from sim.perf.acceptances.decay import Decay
from sim.perf.speculation.acceptance import Tree, acceptance_length, tree_survival
from sim.perf.speculation.fitting import fit_decay

RUNS = ("model", "benchmark", "batch_size", "steps", "topk", "num_draft_tokens", "draft",
        "output_throughput_tok_s", "accept_length")  # fmt: skip
LENGTHS = ("model", "method", "thinking", "num_speculative_tokens", "acceptance_length")
TEXT = ("source_file", "model", "benchmark", "draft", "method", "thinking")
PLAIN = "none"

FITTED_MODEL = "llama-3.1-8b"
FITTED_SHAPES = ((3, 1, 4), (7, 1, 8), (7, 4, 8))
"""(steps, topk, num_draft_tokens) of that model to which the host's figures were fitted."""
FITTED_CHAINS = (3, 7)
FITTED_LENGTHS = (1, 3, 7)
"""Draft lengths to which acceptance was fitted."""

SPEEDUP, SIGN, LENGTH = "speed-up", "sign of the speed-up", "acceptance length"
TREES = "acceptance length of trees"


class Spec:
    """Groups: speed-ups and signs by model, acceptance lengths by model and mode."""

    meaning: ClassVar[str] = "speed-ups and acceptance lengths of speculation (spec_decode/*.csv)"
    takes: ClassVar[frozenset[str]] = frozenset({"gpu", "limit"})

    def files(self, folder: Path) -> list[Path]:
        """CSV files whose header is one of the two sorts."""
        return [p for p in sorted(folder.rglob("*.csv*")) if _sort_of(p) is not None]

    def compare(self, path: Path, options: Options) -> Comparison:
        """Predict every row; ScenarioError when the file is of neither sort."""
        table = read_table(path, TEXT)
        lengths = set(LENGTHS) <= set(table.columns)
        columns = LENGTHS if lengths else RUNS
        require(path, table, columns, "a file of speculation")
        require_numbers(path, table, [c for c in columns if c not in TEXT])
        if lengths:
            if options.gpu is not None:
                raise ScenarioError(f"--gpu has no effect on the lengths of '{path}'; leave it out")
            return _limited(_lengths(path, table), options)
        runs = _Runs(path, table, options)
        return Comparison.join([_limited(c, options) for c in (runs.speedups(), runs.lengths())])


def _sort_of(path: Path) -> str | None:
    try:
        header = set(pd.read_csv(path, nrows=0).columns)
    except (OSError, ValueError, EOFError):
        return None
    known = {"runs": RUNS, "lengths": LENGTHS}
    return next((s for s, columns in known.items() if set(columns) <= header), None)


def _limited(comparison: Comparison, options: Options) -> Comparison:
    chosen = spread(len(comparison), options.limit)
    return Comparison(comparison.rows.iloc[chosen].reset_index(drop=True))


def _joined(path: Path, rows: Iterable[dict[str, Any]]) -> Comparison:
    """Rows of values as a comparison, those that were fitted to in metrics of their own."""
    made = pd.DataFrame(list(rows))
    if not len(made):
        return Comparison.join([])
    word = made["fitted"].map({True: ", fitted", False: ""})
    return Comparison.of(
        kind="spec",
        file=path.name,
        group=list(made["group"] + word),
        metric=list(made["metric"] + word),
        what=list(made["what"]),
        measured_s=made["measured"].to_numpy(dtype=float),
        predicted_s=made["predicted"].to_numpy(dtype=float),
        outside=list(made["outside"]),
        fitted=made["fitted"].to_numpy(dtype=bool),
    )


def _row(
    metric: str, group: str, what: str, measured: float, predicted: float, fitted: bool,
    outside: str = "",
) -> dict[str, Any]:  # fmt: skip
    return {
        "metric": metric, "group": group, "what": what, "measured": measured,
        "predicted": predicted, "fitted": fitted, "outside": outside,
    }  # fmt: skip


# --- SpecForge ---------------------------------------------------------------------------------


class _Runs:
    """Speculative runs beside their plain ones."""

    def __init__(self, path: Path, table: pd.DataFrame, options: Options) -> None:
        self.path, self.gpu = path, options.gpu and gpu_called(options.gpu).name
        group = ["model", "benchmark", "batch_size"]
        plain = table[table["draft"] == PLAIN]
        means = plain.groupby(group)["output_throughput_tok_s"].mean()
        runs = table[table["draft"] != PLAIN]
        keyed = runs.merge(means.rename("plain").reset_index(), on=group, how="left")
        lost = keyed[keyed["plain"].isna()]
        if len(lost):
            first = lost.iloc[0]
            raise ScenarioError(
                f"'{path}' has no plain run (draft {PLAIN}) of {first['model']} on "
                f"{first['benchmark']} at batch {first['batch_size']}; add one"
            )
        best = means.groupby(["model", "batch_size"]).max().rename("best").reset_index()
        self.runs = keyed.merge(best, on=["model", "batch_size"], how="left")

    def speedups(self) -> Comparison:
        """Rows of speed-ups, then of their signs."""
        rows: list[dict[str, Any]] = []
        for (name, _), part in self.runs.groupby(["model", "batch_size"], sort=False):
            rows += self._server(str(name), int(part["batch_size"].iloc[0]), part)
        signs = [
            r | {"metric": SIGN, "group": r["group"].replace(SPEEDUP, SIGN), "fitted": False,
                 "measured": 1.0, "predicted": 2.0 - _agree(r), "what": r["what"]}
            for r in rows
        ]  # fmt: skip
        return _joined(self.path, [*rows, *signs])

    def _server(self, name: str, batch: int, part: pd.DataFrame) -> list[dict[str, Any]]:
        """All runs of one model and batch."""
        try:
            model = catalog_model(name)
            server = server_of(model, batch, batch / float(part["best"].iloc[0]), self.gpu)
        except ScenarioError as mistake:
            group, why = f"{name} {SPEEDUP}", reason(mistake)
            return [
                _row(SPEEDUP, group, _what(r), _gain(r), float("nan"), False, why)
                for r in part.to_dict("records")
            ]
        group = f"{server.gpu} (assumed) TP{server.tp} sglang {name} {SPEEDUP}"
        rows = []
        for r in part.to_dict("records"):
            shape = _shape(r)
            once = server.speedup(Tree(*shape), float(r["accept_length"]))
            whole = with_the_rest(once, r["plain"] / r["best"])
            fitted = model == FITTED_MODEL and shape in FITTED_SHAPES
            rows.append(_row(SPEEDUP, group, _what(r), _gain(r), whole, fitted))
        return rows

    def lengths(self) -> Comparison:
        """Acceptance lengths of chains and trees, from chains of 3 and 7."""
        rows = []
        for (name, _, _, _), part in self.runs.groupby(
            ["model", "benchmark", "batch_size", "draft"], sort=False
        ):
            known = {_shape(r): r for r in part.to_dict("records")}
            chains = [(k, 1, k + 1) for k in FITTED_CHAINS]
            if any(c not in known for c in chains):
                continue
            law = fit_decay({c[0]: known[c]["accept_length"] for c in chains})
            for shape, r in known.items():
                rows.append(self._length(str(name), law, shape, r, shape in chains))
        return _joined(self.path, rows)

    def _length(
        self, name: str, law: Decay, shape: tuple[int, int, int], r: dict[Any, Any], fitted: bool
    ) -> dict[str, Any]:
        metric = LENGTH if shape[1] == 1 else TREES
        group = f"sglang {name} {metric}"
        found = acceptance_length(tree_survival(law, Tree(*shape)))
        return _row(metric, group, _what(r), float(r["accept_length"]), found, fitted)


def _shape(r: dict[Any, Any]) -> tuple[int, int, int]:
    return int(r["steps"]), int(r["topk"]), int(r["num_draft_tokens"])


def _gain(r: dict[Any, Any]) -> float:
    return float(r["output_throughput_tok_s"] / r["plain"])


def _agree(row: dict[str, Any]) -> float:
    return float((row["measured"] >= 1.0) == (row["predicted"] >= 1.0))


def _what(r: dict[Any, Any]) -> str:
    draft = str(r["draft"]).rsplit("/", 1)[-1]
    shape = f"{r['steps']} steps of {r['topk']}, {r['num_draft_tokens']} tokens"
    return f"{r['benchmark']}, batch {r['batch_size']}, {shape}, {draft}"


# --- acceptance lengths ------------------------------------------------------------------------


def _lengths(path: Path, table: pd.DataFrame) -> Comparison:
    """By model, method and mode."""
    rows: list[dict[str, Any]] = []
    for (model, method, mode), part in table.groupby(["model", "method", "thinking"], sort=False):
        measured = dict(zip(part["num_speculative_tokens"].astype(int),
                            part["acceptance_length"].astype(float), strict=True))  # fmt: skip
        name = f"{model} {method}" + (f", thinking {mode}" if mode else "")
        group = f"{name} {LENGTH}"
        law = fit_decay({k: v for k, v in measured.items() if k in FITTED_LENGTHS})
        for drafts, length in measured.items():
            found = acceptance_length(tree_survival(law, Tree.chain(drafts)))
            fitted = drafts in FITTED_LENGTHS
            rows.append(_row(LENGTH, group, f"{name}, {drafts} drafts", length, found, fitted))
    return _joined(path, rows)
