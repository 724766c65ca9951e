"""The number formats by name, with sources."""

from __future__ import annotations

from sim.catalog.number_format import Format, Scale

_IEEE = "IEEE 754"
_OCP8 = "OCP 8-bit Floating Point Specification 1.0 (E4M3, E5M2); scales per tensor are not counted"
_MX = "OCP Microscaling Formats 1.0, arXiv 2310.10537: an 8-bit scale for 32 elements"
_INT = "plain integers; scales per channel or group are not counted"
_BDR = "Shared Microexponents, arXiv 2302.08007: bits = (1 + m) + d1/k1 + d2/k2"
_DEEPSEEK = "DeepSeek-V3, arXiv 2412.19437, section 3.3.2: E4M3 with an FP32 scale"
_QLORA = "QLoRA, arXiv 2305.14314"


def bdr(name: str, m: int, k1: int, d1: int, k2: int, d2: int, source: str = _BDR) -> Format:
    """Block data representation with two levels of scales: sign and m mantissa bits an element,
    d1 bits for k1 elements, d2 bits for k2."""
    return Format(name, 1.0 + m, "bf16", source, (Scale(d1, k1), Scale(d2, k2)))


def mx(name: str, element_bits: int, compute: str) -> Format:
    """OCP MX: an E8M0 scale for 32 elements."""
    return Format(name, element_bits, compute, _MX, (Scale(8, 32),))


TABLE: tuple[Format, ...] = (
    Format("fp32", 32.0, "fp32", _IEEE),
    Format("bf16", 16.0, "bf16", "bfloat16: the upper half of IEEE single"),
    Format("fp16", 16.0, "fp16", _IEEE),
    Format("fp8", 8.0, "fp8", _OCP8),
    Format("fp8_block", 8.0, "fp8", f"{_DEEPSEEK} for 128 × 128 weights", (Scale(32, 128, 128),)),
    Format("fp8_g128", 8.0, "fp8", f"{_DEEPSEEK} for 1 × 128 activations", (Scale(32, 128),)),
    Format("int8", 8.0, "int8", _INT),
    Format("int4", 4.0, "int4", _INT),
    Format("fp4", 4.0, "fp4", "E2M1 without block scales: a lower bound for MXFP4 and NVFP4"),
    mx("mxfp8", 8, "fp8"),
    mx("mxfp6", 6, "fp6"),
    mx("mxfp4", 4, "fp4"),
    mx("mxint8", 8, "int8"),
    Format(
        "nvfp4",
        4.0,
        "fp4",
        "NVIDIA NVFP4: an 8-bit (E4M3) scale for 16 elements of E2M1; one FP32 per tensor is not "
        "counted",
        (Scale(8, 16),),
    ),
    bdr("mx9", 7, 16, 8, 2, 1),
    bdr("mx6", 4, 16, 8, 2, 1),
    bdr("mx4", 2, 16, 8, 2, 1),
    Format("nf4", 4.0, "bf16", f"{_QLORA}: an FP32 scale for 64 elements", (Scale(32, 64),)),
    Format(
        "nf4_double",
        4.0,
        "bf16",
        f"{_QLORA}: 8-bit scales for 64 elements, an FP32 scale for 256 of those",
        (Scale(8, 64), Scale(32, 64, 256)),
    ),
    Format("qmoe", 0.8, "bf16", "QMoE, arXiv 2310.16795: ternary experts, entropy-coded, 20:1"),
)
