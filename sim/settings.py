"""How a settings class is written: a frozen, typed dataclass that refuses unknown keys.

A policy *is* its settings: `@settings class PowerOfTwo: ...` in `routers/power_of_two.py` declares
what may be written under `router: {power_of_two: {...}}`, and the same object starts the policy.
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, defer_build=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, slotted, keyword-only dataclass whose values pydantic has checked."""
    made: Any = dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)(cls)
    return made  # type: ignore[no-any-return]
