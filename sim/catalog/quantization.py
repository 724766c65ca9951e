"""In which number formats a model's weights are published."""

from __future__ import annotations

from sim.catalog.config import Config

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def published_formats(config: Config) -> tuple[str, str | None]:
    """The format of the weights, and that of the routed experts where it differs (else None).

    Without `torch_dtype` it is bf16. A `quantization_config` whose method is not known is
    refused: which matrices it leaves alone would be a guess.
    """
    key = "dtype" if config.has("dtype") else "torch_dtype"
    dtype = config.word(key, default="bfloat16")
    if dtype not in _DTYPES:
        raise config.wrong(key, f"one of {', '.join(_DTYPES)}")
    if not config.has("quantization_config"):
        return _DTYPES[dtype], None
    block = config.section("quantization_config")
    method = block.word("quant_method")
    if method in ("fp8", "fbgemm_fp8"):
        return ("fp8_block" if block.has("weight_block_size") else "fp8"), None
    if method == "mxfp4":
        return _DTYPES[dtype], "mxfp4"
    if method in ("awq", "gptq"):
        return _integers(block, method), None
    raise block.wrong(
        "quant_method",
        "fp8, fbgemm_fp8, mxfp4, or awq and gptq with a group size or in 4 or 8 bits; take the "
        "group out and name the format of the weights in the scenario",
    )


def _integers(block: Config, method: str) -> str:
    """`int4_g128`, with `_zp` where groups have a zero point: AWQ unless `zero_point` is false,
    GPTQ if `sym` is false. Without a group size (or −1: one per column) scales are not counted."""
    bits = block.whole("bits")
    if block.has("group_size") and block.values["group_size"] != -1:
        zero = block.flag("zero_point", True) if method == "awq" else not block.flag("sym", True)
        return f"int{bits}_g{block.whole('group_size')}{'_zp' if zero else ''}"
    if bits not in (4, 8):
        raise block.wrong("bits", "4 or 8 where there is no 'group_size'")
    return f"int{bits}"
