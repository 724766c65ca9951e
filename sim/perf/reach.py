"""Which figures a price leans on, and which shapes lie outside what they were fitted to."""

from __future__ import annotations

from sim.perf.attentions import AttentionWork
from sim.perf.fitted import Found
from sim.perf.fitted_kernels import FittedKernels
from sim.perf.layer_work import attention_works, layer_work
from sim.perf.task import PriceTask

Row = dict[str, str]


def beyond(task: PriceTask, kernels: FittedKernels) -> list[Row]:
    """One row per kind of kernel: where its figures are from, and how far they are stretched."""
    rows: list[Row] = []
    for layer in task.model.layer_counts:
        work = layer_work(task, layer)
        for p in (*work.projections, *work.products):
            found = kernels.gemm(p.format)
            shape = {"n": float(p.outputs), "k": float(p.inputs)}
            rows.append(_row(task, f"products in {p.format.name}", found, shape))
        if work.routed is not None:
            found = kernels.experts(work.routed.format, work.routed.parallel)
            shape = {"hidden_size": float(work.routed.hidden)}
            rows.append(_row(task, f"experts in {work.routed.format.name}", found, shape))
            if task.spread.ranks > 1:
                found = kernels.shelf.find("dispatch", "deepep_normal")
                rows.append(_row(task, "dispatch to experts", found, {}))
        for a in attention_works(task, layer):
            rows += _attention_rows(task, kernels, a)
    return list({tuple(sorted(r.items())): r for r in rows}.values())


_KINDS = {
    "grouped": ("prefill_attention", "decode_attention"),
    "latent": ("latent_prefill", "latent_decode"),
    "sparse_latent": ("latent_decode",),
}
_WORDS = {
    "SparseLatentAttention": "indexer",
    "StateSpaceAttention": "state-space mixer",
    "GatedDeltaAttention": "gated delta mixer",
    "BudgetedAttention": "scan of key summaries",
}


def _attention_rows(task: PriceTask, kernels: FittedKernels, work: AttentionWork) -> list[Row]:
    if work.kernel == "top_k":
        return [_row(task, "top-k selection", kernels.shelf.find("top_k", "radix"), {})]
    if work.kernel in _KINDS:
        return [
            _row(task, kind.replace("_", " "), kernels.attention(kind, work), {})
            for kind in _KINDS[work.kernel]
        ]
    kind = type(work.attention).__name__
    source = "assumed: the slower of arithmetic and traffic, nothing measured"
    return [{"what": f"{task.gpu.name} {_WORDS.get(kind, kind)}", "value": "", "source": source}]


def _row(task: PriceTask, what: str, found: Found, shape: dict[str, float]) -> Row:
    """The source of one surface; `extrapolated:` before it where the shape is outside."""
    source, outside = found.source, []
    if found.fitted is not None:
        reach = found.fitted.reach
        for name, value in shape.items():
            low, high = reach.get(name, (value, value))
            if not low <= value <= high:
                outside.append(f"{name} = {value:g} is outside {low:g} to {high:g}")
        if found.gpu != task.gpu.name:
            outside.append(f"{task.gpu.name} has no table")
        residual = found.fitted.residual
        if residual is not None:
            source += f", error {100 * residual.mape:.0f} % on {residual.rows} rows not fitted"
    if outside:
        source = f"extrapolated: {'; '.join(outside)}; {source}"
    return {"what": f"{task.gpu.name} {what}", "value": "", "source": source}
