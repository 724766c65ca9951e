"""Requests of several kinds, each with its own law: code is drafted better than chat. Measured on
one draft: 3.32 tokens a step on one task and 2.77 on another with three drafts (arXiv 2604.26779,
EAGLE-3 for Qwen3-8B: RL-Zero and RL-Think). Which kind a request is of is drawn from its number."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from sim.perf.acceptances import Acceptance, AcceptanceSetting, Array
from sim.settings import settings


@settings
class _Class:
    """One kind of requests."""

    share: Annotated[float, Field(gt=0)]
    """Of all requests; shares are taken in proportion."""
    acceptance: AcceptanceSetting
    """Its law."""


@settings
class ByClass:
    """A mixture over requests."""

    classes: Annotated[tuple[_Class, ...], Field(min_length=1)]

    @property
    def parts(self) -> tuple[tuple[float, Acceptance], ...]:
        """(share of requests, law), shares adding up to 1."""
        whole = sum(c.share for c in self.classes)
        return tuple((c.share / whole, c.acceptance) for c in self.classes)

    def rates(self, drafts: int) -> Array:
        """Of a verify step of any request, all kinds as likely as they are frequent."""
        survived = sum(share * np.cumprod(law.rates(drafts)) for share, law in self.parts)
        before = np.concatenate([[1.0], np.asarray(survived)[:-1]])
        return np.asarray(np.divide(survived, before, out=np.zeros(drafts), where=before > 0))

    def assumptions(self) -> list[dict[str, str]]:
        """Those of its laws."""
        return [row for c in self.classes for row in c.acceptance.assumptions()]
