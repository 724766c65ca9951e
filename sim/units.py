"""Quantities with units, parsed at the border; inside, plain floats in SI base units.

`GB` is 10⁹ bytes and `GiB` 2³⁰; `Gb` is 10⁹ bits. A bare number is taken in the base unit that
the setting's name ends in (`_s`, `_bytes`, `_bytes_per_s`, `_flops_per_s`, `_w`).
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_TIME = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"^\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*$")


def _bytes_units() -> dict[str, float]:
    units = {p + "B": f for p, f in (_DECIMAL | _BINARY).items()}
    units |= {p + "b": f / 8 for p, f in (_DECIMAL | _BINARY).items()}
    return units | {"bytes": 1.0, "byte": 1.0}


def _per_second(units: dict[str, float]) -> dict[str, float]:
    return {u + tail: f for u, f in units.items() for tail in ("/s", "ps")}


UNITS: dict[str, dict[str, float]] = {
    "s": _TIME,
    "bytes": _bytes_units(),
    "bytes/s": _per_second(_bytes_units()),
    "flops/s": {p + "FLOP/s": f for p, f in _DECIMAL.items()}
    | {p + "FLOPS": f for p, f in _DECIMAL.items()},
    "w": {"W": 1.0, "kW": 1e3, "MW": 1e6},
    "1/s": {"/s": 1.0, "1/s": 1.0, "rps": 1.0, "/min": 1 / 60, "/h": 1 / 3600},
}
"""Known spellings for each base unit, with the factor that leads to it."""

WHAT = {
    "s": "time (ns, us, ms, s, min, h)",
    "bytes": "bytes (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)",
    "bytes/s": "bytes per second (GB/s, Gb/s, TB/s)",
    "flops/s": "operations per second (TFLOP/s, PFLOP/s)",
    "w": "power (W, kW, MW)",
    "1/s": "a rate (/s, /min, /h)",
}


def parse(value: object, unit: str) -> float:
    """The number of `unit`s that `value` (a number, or text such as `"3.35 TB/s"`) stands for.

    Raises ValueError, naming what may be written, when the text is no quantity of that unit.
    """
    if isinstance(value, bool) or value is None:
        raise ValueError(f"{value!r} is not a quantity; write a number of {unit}")
    if isinstance(value, (int, float)):
        number = float(value)
    else:
        match = _NUMBER.match(str(value))
        if match is None:
            raise ValueError(f"{value!r} is not a quantity; write for example {example(unit)}")
        suffix = match[2]
        factor = 1.0 if suffix == "" else UNITS[unit].get(suffix)
        if factor is None:
            raise ValueError(
                f"{value!r} has the unit '{suffix}', which is no unit of {WHAT[unit]}; "
                f"write for example {example(unit)}"
            )
        number = float(match[1].replace("_", "")) * factor
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number


def example(unit: str) -> str:
    """One way to write a quantity of `unit`."""
    return {
        "s": "'250 ms'",
        "bytes": "'80 GB'",
        "bytes/s": "'50 GB/s' or '400 Gb/s'",
        "flops/s": "'989 TFLOP/s'",
        "w": "'700 W'",
        "1/s": "'12 /s'",
    }[unit]


def _quantity(unit: str) -> Any:
    schema = {"anyOf": [{"type": "number"}, {"type": "string", "description": f"in {unit}"}]}
    return (BeforeValidator(lambda v: parse(v, unit)), WithJsonSchema(schema))


def _whole(value: object) -> object:
    """Refuse `true`, which Python takes for 1."""
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")
    return value


_AtLeast0 = Annotated[int, Field(ge=0, le=2**48)]
_AtLeast1 = Annotated[int, Field(ge=1, le=2**48)]
NonNegativeInt = Annotated[_AtLeast0, BeforeValidator(_whole, json_schema_input_type=_AtLeast0)]
PositiveInt = Annotated[_AtLeast1, BeforeValidator(_whole, json_schema_input_type=_AtLeast1)]

Seconds = Annotated[float, *_quantity("s")]
Bytes = Annotated[float, *_quantity("bytes")]
BytesPerS = Annotated[float, *_quantity("bytes/s")]
FlopsPerS = Annotated[float, *_quantity("flops/s")]
Watts = Annotated[float, *_quantity("w")]
PerS = Annotated[float, *_quantity("1/s")]
Duration = Annotated[Seconds, Field(ge=0)]
"""Seconds that cannot be negative."""


def human_bytes(n: float) -> str:
    """`n` bytes with a decimal prefix, three digits: `131 MB`."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(n) >= factor:
            return f"{n / factor:.3g} {prefix}B"
    return f"{n:.0f} B"


def human_seconds(t: float) -> str:
    """`t` seconds in the unit that reads best: `3.1 ms`."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(t) >= factor:
            return f"{t / factor:.4g} {unit}"
    return "0 s" if t == 0 else f"{t / 1e-9:.3g} ns"
