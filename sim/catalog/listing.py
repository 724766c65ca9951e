"""The catalog as plain rows, one dictionary each with units in its keys, for tables and JSON."""

from __future__ import annotations

from sim.catalog.counting import active_params, kv_bytes_per_token, total_params
from sim.catalog.formats import FORMATS, format_names
from sim.catalog.gpu import Gpu, gpu_names, load_gpu
from sim.catalog.model import GroupedAttention, Model, MoeFfn, load_model, model_names

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
        "attention": ", ".join(sorted({_attention(la.attention) for la in model.layer_counts})),
        "window_tokens": sorted(w for w in windows if w is not None),
        "experts": f"{moe[0].experts} / {moe[0].top_k}" if moe else None,
        "vocab": model.vocab,
        "max_context_tokens": model.max_context_tokens,
        "kv_bytes_per_token_bf16": kv_bytes_per_token(model),
        "weight_format": model.weight_format,
        "expert_format": model.expert_format,
        "mtp_layers": model.mtp_layers,
        "source": model.source,
    }


def _attention(attention: object) -> str:
    if not isinstance(attention, GroupedAttention):
        return "MLA"
    kind = "MHA" if attention.kv_heads == attention.q_heads else "GQA"
    return f"{kind} {attention.q_heads} / {attention.kv_heads}"


def format_rows() -> list[Row]:
    """The number formats: bits per element with scales, the units they run on, the source."""
    return [
        {"name": f.name, "bits": f.bits, "compute": f.compute, "source": f.source}
        for f in (FORMATS[name] for name in format_names())
    ]
