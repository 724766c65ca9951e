"""Number formats that a user writes out: `int3`, `int5_g64`, `bdr(m=4, ...)`, `bits(0.8)`.

| written | means |
|---|---|
| `intB`, B = 1 … 16 | integers of B bits, stored only (`int4` and `int8` have units and a name) |
| `intB_gK`, `fp8_gK` | with a scale for K elements of a row: FP16 (int), FP32 (fp8) |
| `intB_gK_zp` | and a zero point of B bits beside the scale (AWQ, GPTQ) |
| `bdr(m=,k1=,d1=,k2=,d2=)` | two levels of scales, arXiv 2302.08007 |
| `bits(X)` | X bits per element in all, stored only |
"""

from __future__ import annotations

import re
from functools import cache

from sim.catalog.format_table import bdr
from sim.catalog.number_format import Format, Scale
from sim.errors import ScenarioError

PATTERNS: dict[str, tuple[str, str]] = {
    "intB": ("int3", "integers of 1 to 16 bits, stored only; int4 and int8 by name have units"),
    "intB_gK": ("int4_g128", "an FP16 scale for K elements, stored only: GPTQ, arXiv 2210.17323"),
    "intB_gK_zp": ("int4_g128_zp", "and a zero point of B bits: AWQ, arXiv 2306.00978"),
    "fp8_gK": ("fp8_g64", "E4M3 with an FP32 scale for K elements, as DeepSeek-V3's with 128"),
    "bdr(m=,k1=,d1=,k2=,d2=)": ("bdr(m=3,k1=16,d1=8,k2=2,d2=1)", "arXiv 2302.08007, stored only"),
    "bits(X)": ("bits(1.58)", "X bits per element in all, as the user says, stored only"),
}
"""Written form → (example, meaning and source)."""

_USER = "written by the user"
_GROUPED = re.compile(r"(int|fp)(\d+)(?:_g(\d+))?(_zp)?")
_BDR_KEYS = ("m", "k1", "d1", "k2", "d2")


@cache
def parse_format(text: str) -> Format | None:
    """The format that `text` writes out, or None when it has none of the forms above.

    Raises ScenarioError when it has such a form with values that make no format.
    """
    word = re.sub(r"\s+", "", text).lower()
    if word.startswith("bits("):
        return _bits(word)
    if word.startswith("bdr("):
        return _bdr(word)
    found = _GROUPED.fullmatch(word)
    return None if found is None else _grouped(word, found)


def _wrong(word: str, why: str) -> ScenarioError:
    return ScenarioError(f"number format '{word}': {why}")


def _grouped(word: str, found: re.Match[str]) -> Format | None:
    kind, bits, group = found[1], int(found[2]), found[3]
    if kind == "fp":
        if bits != 8 or group is None or found[4]:
            return None
        scales = (Scale(32, _positive(word, "g", group)),)
        return Format(word, 8.0, "fp8", PATTERNS["fp8_gK"][1], scales)
    if not 1 <= bits <= 16:
        raise _wrong(word, f"integers have 1 to 16 bits, not {bits}; write for example int4")
    if group is None:
        if found[4]:
            raise _wrong(word, f"a zero point needs a group; write for example int{bits}_g128_zp")
        return Format(word, float(bits), "bf16", _USER)
    columns = _positive(word, "g", group)
    zero = (Scale(bits, columns),) if found[4] else ()
    form = "intB_gK_zp" if found[4] else "intB_gK"
    return Format(word, float(bits), "bf16", PATTERNS[form][1], (Scale(16, columns), *zero))


def _bits(word: str) -> Format:
    inner = re.fullmatch(r"bits\((\d+\.?\d*|\.\d+)\)", word)
    bits = float(inner[1]) if inner else 0.0
    if not 0 < bits <= 32:
        raise _wrong(word, "write the bits per element, above 0 and at most 32: bits(0.8)")
    return Format(word, bits, "bf16", _USER)


def _bdr(word: str) -> Format:
    example = "bdr(m=4,k1=16,d1=8,k2=2,d2=1)"
    given: dict[str, str] = {}
    for part in word[len("bdr(") : -1].split(","):
        key, _, value = part.partition("=")
        if key not in _BDR_KEYS or key in given:
            raise _wrong(word, f"'{part}' is not one of {', '.join(_BDR_KEYS)}, once; {example}")
        given[key] = value
    missing = [key for key in _BDR_KEYS if key not in given]
    if missing or not word.endswith(")"):
        raise _wrong(word, f"{missing[0] if missing else ')'} is missing; write {example}")
    m, k1, d1, k2, d2 = (_positive(word, key, given[key]) for key in _BDR_KEYS)
    if k1 % k2:
        raise _wrong(word, f"k2={k2} does not divide k1={k1}; sub-blocks fill a block")
    return bdr(word, m, k1, d1, k2, d2, source=f"{_USER}, by the rule of arXiv 2302.08007")


def _positive(word: str, key: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise _wrong(word, f"{key} is '{value}', and must be a whole number, 1 or more")
    return int(value)
