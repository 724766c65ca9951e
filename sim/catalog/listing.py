"""The catalog as plain rows, one dictionary each with units in its keys, for tables and JSON."""

from __future__ import annotations

from sim.catalog.attention import (
    Attention,
    GatedDeltaAttention,
    GroupedAttention,
    LatentAttention,
    NoAttention,
    SparseLatentAttention,
    StateSpaceAttention,
)
from sim.catalog.counting import (
    active_params,
    kv_bytes_per_token,
    state_bytes_per_sequence,
    total_params,
)
from sim.catalog.formats import FORMATS, PATTERNS, Format, format_names, load_format
from sim.catalog.gpu import Gpu, gpu_names, load_gpu
from sim.catalog.model import Model, MoeFfn, load_model, model_names

Row = dict[str, object]


def gpu_rows() -> list[Row]:
    """The GPUs of the catalog: figures, their sources, and the names of those that are guesses."""
    return [gpu_row(load_gpu(name)) for name in gpu_names()]


def gpu_row(gpu: Gpu) -> Row:
    """One GPU; `flops_per_s` and `sources` are dictionaries by format and by figure."""
    return {
        "name": gpu.name,
        "architecture": gpu.architecture,
        "flops_per_s": dict(gpu.flops_per_s),
        "hbm_bytes": gpu.hbm_bytes,
        "hbm_bytes_per_s": gpu.hbm_bytes_per_s,
        "scale_up_bytes_per_s": gpu.scale_up_bytes_per_s,
        "scale_up_domain": gpu.scale_up_domain,
        "network_bytes_per_s": gpu.network_bytes_per_s,
        "pcie_bytes_per_s": gpu.pcie_bytes_per_s,
        "power_w": gpu.power_w,
        "assumed": sorted(gpu.assumptions),
        "sources": dict(gpu.sources),
    }


def model_rows() -> list[Row]:
    """The models of the catalog, with the counts that follow from their dimensions."""
    return [model_row(load_model(name)) for name in model_names()]


def model_row(model: Model) -> Row:
    """One model; `experts` is `256 / 8` (of all, per token), or None for a dense one."""
    moe = [la.ffn for la in model.layer_counts if isinstance(la.ffn, MoeFfn)]
    windows = {la.attention.window_tokens for la in model.layer_counts} - {None}
    return {
        "name": model.name,
        "params": total_params(model),
        "active_params": active_params(model),
        "layers": len(model.layers),
        "hidden": model.hidden,
        "attention": _attentions(model),
        "window_tokens": sorted(w for w in windows if w is not None),
        "experts": f"{moe[0].experts} / {moe[0].top_k}" if moe else None,
        "vocab": model.vocab,
        "max_context_tokens": model.max_context_tokens,
        "kv_bytes_per_token_bf16": kv_bytes_per_token(model),
        "state_bytes_per_sequence": state_bytes_per_sequence(model),
        "weight_format": model.weight_format,
        "expert_format": model.expert_format,
        "mtp_layers": model.mtp_layers,
        "source": model.source,
    }


def _attentions(model: Model) -> str:
    """Every kind of attention, and how many layers have it where there are several kinds."""
    layers: dict[str, int] = {}
    for layer, count in model.layer_counts.items():
        if not isinstance(layer.attention, NoAttention):
            kind = _attention(layer.attention)
            layers[kind] = layers.get(kind, 0) + count
    if len(layers) == 1:
        return next(iter(layers))
    return ", ".join(f"{count} × {kind}" for kind, count in layers.items())


def _attention(attention: Attention) -> str:
    match attention:
        case LatentAttention():
            return "MLA"
        case SparseLatentAttention():
            return f"DSA {attention.index_topk}"
        case StateSpaceAttention():
            return "Mamba-2"
        case GatedDeltaAttention():
            return "Gated DeltaNet"
        case GroupedAttention():
            kind = "MHA" if attention.kv_heads == attention.q_heads else "GQA"
            return f"{kind} {attention.q_heads} / {attention.kv_heads}"
    return "none"


def format_rows() -> list[Row]:
    """The number formats: bits per element with scales, the units they run on, the source; then
    one example of each form in which a scenario may write a format of its own."""
    rows = [_format_row(FORMATS[name]) for name in format_names()]
    for form, (example, meaning) in PATTERNS.items():
        rows.append(_format_row(load_format(example)) | {"source": f"written as {form}: {meaning}"})
    return rows


def _format_row(fmt: Format) -> Row:
    return {
        "name": fmt.name,
        "bits": fmt.bits,
        "compute": fmt.compute,
        "block": fmt.block,
        "stored_only": fmt.storage_only,
        "gpus": [name for name in gpu_names() if fmt.runs_on(load_gpu(name))],
        "source": fmt.source,
    }
