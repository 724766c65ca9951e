"""Number formats by name: exact bits per element, and which matrix units they run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.catalog.format_parser import PATTERNS, parse_format
from sim.catalog.format_table import TABLE
from sim.catalog.number_format import Format, Scale
from sim.errors import ScenarioError, suggest

if TYPE_CHECKING:  # a GPU file is checked against the formats below, so the import goes one way
    from sim.catalog.gpu import Gpu

__all__ = [
    "COMPUTE_KEYS",
    "FORMATS",
    "PATTERNS",
    "Format",
    "Scale",
    "compute_peak",
    "format_names",
    "load_format",
]

FORMATS: dict[str, Format] = {f.name: f for f in TABLE}
"""Every named format."""

COMPUTE_KEYS: frozenset[str] = frozenset(f.compute for f in TABLE)
"""The keys that a GPU's `flops_per_s` may have."""


def format_names() -> tuple[str, ...]:
    """The formats a scenario may name, sorted; it may also write one out (`PATTERNS`)."""
    return tuple(sorted(FORMATS))


def load_format(name: str) -> Format:
    """The format called `name`, in any case, or written out (`int5_g64`, `bits(0.8)`).

    Raises ScenarioError, with a suggestion, on a typo.
    """
    found = FORMATS.get(name.strip().lower()) or parse_format(name)
    if found is None:
        forms = ", ".join(PATTERNS)
        near = suggest(name, FORMATS)
        raise ScenarioError(
            f"number format '{name}' is not known{near}{'' if near.endswith('?') else ';'} "
            f"or write one out: {forms}"
        )
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
