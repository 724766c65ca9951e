"""What a number format is: exact bits per element, and which matrix units it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.errors import ScenarioError, suggest

if TYPE_CHECKING:  # a GPU file is checked against the formats below, so the import goes one way
    from sim.catalog.gpu import Gpu


@dataclass(frozen=True, slots=True)
class Format:
    """A number format of weights, activations or KV."""

    name: str
    bits: float
    """Bits per element, the share of block scales included."""
    compute: str
    """The key of `Gpu.flops_per_s` under which multiplications of two such operands run."""
    source: str

    @property
    def bytes_per_element(self) -> float:
        """Bytes per element, the share of block scales included: bits ÷ 8."""
        return self.bits / 8


_IEEE = "IEEE 754"
_OCP8 = "OCP 8-bit Floating Point Specification 1.0 (E4M3, E5M2); scales per tensor are not counted"
_MX = "OCP Microscaling Formats 1.0, arXiv 2310.10537: an 8-bit scale for 32 elements"
_INT = "plain integers; scales per channel or group are not counted"

_TABLE: tuple[Format, ...] = (
    Format("fp32", 32.0, "fp32", _IEEE),
    Format("bf16", 16.0, "bf16", "bfloat16: the upper half of IEEE single"),
    Format("fp16", 16.0, "fp16", _IEEE),
    Format("fp8", 8.0, "fp8", _OCP8),
    Format("int8", 8.0, "int8", _INT),
    Format("int4", 4.0, "int4", _INT),
    Format("fp4", 4.0, "fp4", "E2M1 without block scales: a lower bound for MXFP4 and NVFP4"),
    Format("mxfp8", 8.25, "fp8", _MX),
    Format("mxfp6", 6.25, "fp6", _MX),
    Format("mxfp4", 4.25, "fp4", _MX),
    Format("mxint8", 8.25, "int8", _MX),
    Format("nvfp4", 4.5, "fp4", "NVIDIA NVFP4: an 8-bit (E4M3) scale for 16 elements of E2M1"),
)

FORMATS: dict[str, Format] = {f.name: f for f in _TABLE}
"""Every format by name."""

COMPUTE_KEYS: frozenset[str] = frozenset(f.compute for f in _TABLE)
"""The keys that a GPU's `flops_per_s` may have."""


def format_names() -> tuple[str, ...]:
    """The formats a scenario may name, sorted."""
    return tuple(sorted(FORMATS))


def load_format(name: str) -> Format:
    """The format called `name`, in any case; ScenarioError, with a suggestion, on a typo."""
    found = FORMATS.get(name.strip().lower())
    if found is None:
        raise ScenarioError(f"number format '{name}' is not known{suggest(name, FORMATS)}")
    return found


def compute_peak(gpu: Gpu, fmt: Format | str) -> float:
    """Dense FLOP/s of `gpu` on two operands of `fmt`.

    For weights that are only stored in a format (mxfp4 on Hopper) ask for the format in which
    they are multiplied. Raises ScenarioError, naming both, when the GPU has no units for it.
    """
    wanted = load_format(fmt) if isinstance(fmt, str) else fmt
    peak = gpu.flops_per_s.get(wanted.compute)
    if peak is None:
        has = ", ".join(sorted(gpu.flops_per_s))
        raise ScenarioError(
            f"GPU '{gpu.name}' has no matrix units for '{wanted.name}' "
            f"(they would be '{wanted.compute}'); it computes in {has}"
        )
    return peak
