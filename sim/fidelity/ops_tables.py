"""The tables of measured kernels that are known, and their columns (docs/validate.md)."""

from __future__ import annotations

_HEADS = ("num_heads", "batch_size", "isl")
_GROUPED = (*_HEADS, "num_key_value_heads", "head_dim", "attn_dtype", "kv_cache_dtype")
_MLA = (*_HEADS, "mla_dtype", "kv_cache_dtype", "step", "kernel_source")
_DEEPEP = ("node_num", "hidden_size", "num_token", "num_topk", "num_experts")

TABLES: dict[str, tuple[str, ...]] = {
    "gemm": ("gemm_dtype", "m", "n", "k"),
    "moe": ("moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts",
            "moe_tp_size", "moe_ep_size", "distribution"),
    "context_attention": _GROUPED,
    "generation_attention": (*_GROUPED, "step"),
    "mla_context_module": (*_MLA, "gemm_type"),
    "mla_generation_module": (*_MLA, "gemm_type"),
    "context_mla": _MLA,
    "generation_mla": _MLA,
    "nccl": ("system", "op_name", "nccl_dtype", "num_gpus", "message_size"),
    "custom_allreduce": ("system", "framework", "kernel_source", "allreduce_dtype", "num_gpus",
                         "message_size"),
    "deepep_low_latency": ("system", *_DEEPEP, "dispatch_avg_t_us", "combine_avg_t_us"),
    "deepep_normal": ("system", *_DEEPEP, "dispatch_sms", "dispatch_transmit_us",
                      "dispatch_notify_us", "combine_transmit_us", "combine_notify_us"),
}  # fmt: skip
"""Columns that each table must have, beside `latency`."""

SUMS: dict[str, tuple[str, ...]] = {
    "deepep_low_latency": ("dispatch_avg_t_us", "combine_avg_t_us"),
    "deepep_normal": ("dispatch_transmit_us", "dispatch_notify_us", "combine_transmit_us",
                      "combine_notify_us"),
}  # fmt: skip
"""Tables whose latency is the sum of these columns, in microseconds."""

IN_TOPOLOGIES = frozenset({"nccl", "custom_allreduce"})
"""Tables whose fitted figures are in the machines of `topologies/`, not in a calibration."""

WORDS = frozenset({"kernel_source", "model", "architecture", "system", "framework", "distribution",
                   "collected_with", "nccl_dir", "op_name"})  # fmt: skip
"""Columns of text, beside those that end in `dtype` and `gemm_type`."""


def is_word(column: str) -> bool:
    """Whether a column holds text."""
    return column in WORDS or column.endswith(("dtype", "gemm_type"))
