"""How readily drafted tokens are accepted, one law a file.

A law is its settings: `rates(drafts)` are the chances that draft i is accepted once all before it
were (arXiv 2211.17192, section 3: alpha, there one number). What follows from them, lengths,
distributions and draws, is in `sim.perf.speculation.acceptance`.

A law of one setting may be written short: `acceptance: {iid: 0.75}`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from sim.plugins import load, names, policy

Array = NDArray[np.float64]
Chance = Annotated[float, Field(ge=0, le=1)]

OF_A_NUMBER = "{{iid: {}}}"
"""How one chance for all drafts is written."""


class Acceptance(Protocol):
    """What every file here provides."""

    def rates(self, drafts: int) -> Array:
        """(drafts,) chances that draft 1, 2, … is accepted, given that all before it were."""

    def assumptions(self) -> list[dict[str, str]]:
        """Figures that it leans on beside what the user wrote: what, value, source."""


def _short(value: object) -> object:
    """`{iid: 0.75}` as `{iid: {rate: 0.75}}`: a bare value is that of the first setting."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    name, given = next(iter(value.items()))
    if given is None or isinstance(given, Mapping) or name not in names(__name__):
        return value
    cls: Any = load(__name__, str(name))
    return {name: {dataclasses.fields(cls)[0].name: given}}


AcceptanceSetting = Annotated[Acceptance, policy("sim.perf.acceptances"), BeforeValidator(_short)]
"""The annotation of a setting that names a law."""
