"""Which measured variant of a kernel stands for a number format: the best guess first."""

from __future__ import annotations

from sim.catalog.formats import Format

_GEMM = {
    "fp16": "bf16", "fp32": "bf16", "mxfp8": "fp8_block", "int8": "fp8", "mxfp4": "nvfp4",
    "fp4": "nvfp4",
}  # fmt: skip
_BLOCK = {"fp16": "bf16", "fp8": "fp8_block", "mxfp8": "fp8_block", "mxfp4": "nvfp4"}
_EXPERTS = {
    "fp16": ("bf16",),
    "fp8": ("fp8", "fp8_block"),
    "int8": ("fp8", "fp8_block"),
    "mxfp8": ("fp8_block", "fp8"),
    "fp8_block": ("fp8_block", "fp8"),
    "nvfp4": ("nvfp4",),
    "fp4": ("nvfp4",),
    "mxfp4": ("w4a16_mxfp4", "nvfp4"),
    "int4": ("int4_wo", "w4a16_mxfp4"),
}
_NARROW = {"mxfp4": ("w4a8_mxfp4_mxfp8",)}
"""Experts with 8-bit activations."""
_WIDE = {"mxfp4": ("w4a16_mxfp4",), "int4": ("int4_wo", "w4a16_mxfp4")}
"""Experts with 16-bit activations; others run like bf16 with fewer bytes."""
MIN_LATENCY_TOKENS = 128
"""Most tokens for which TensorRT-LLM takes its kernels of least latency (`fused_moe`,
min_latency_mode)."""


def gemm_variant(fmt: Format) -> str:
    """Of products that run in `fmt`; those that no table has are taken like another with the same
    units. assumed: only the bytes differ."""
    return _GEMM.get(fmt.name, fmt.name)


def block_variant(fmt: Format) -> str:
    """The same for the blocks of latent attention."""
    return _BLOCK.get(fmt.name, fmt.name)


def expert_variants(
    fmt: Format, activations: Format | None, architecture: str, engine: str, parallel: int
) -> tuple[str, ...]:
    """Of expert layers with weights in `fmt`.

    vLLM's per-tensor FP8 series on Hopper was taken with kernels that had not been tuned (0.19 of
    memory bandwidth), so block-scaled ones stand for it, there and where its tables serve another
    engine; with expert parallelism vLLM has kernels of their own there.
    """
    name = "int4" if fmt.name.startswith("int4") else fmt.name
    if activations is not None and activations.bits >= 16 > fmt.bits:
        return (*_WIDE.get(name, ()), "bf16")
    found = _EXPERTS.get(name, (name,))
    if activations is not None and 6 <= activations.bits < 16:
        found = (*_NARROW.get(name, ()), *found)
    if architecture == "hopper" and not engine.startswith("trtllm") and "fp8" in found:
        found = ("fp8_block", "fp8")
        if parallel > 1 and engine.startswith("vllm"):
            found = ("fp8_block_ep", *found)
    return (*found, "bf16")
