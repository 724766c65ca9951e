"""Which keys a decode step sees, where a deployment leaves some out, one way a file. A sparsity is
its settings; `apply(model)` gives the model as it is then served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from sim.catalog.attention import Attention, BudgetedAttention, GroupedAttention
from sim.catalog.model import Model
from sim.errors import ScenarioError


class Sparsity(Protocol):
    """What every file here provides."""

    def apply(self, model: Model) -> Model:
        """The model as it is served; ScenarioError where there is nothing to leave out."""

    def assumptions(self) -> list[dict[str, str]]:
        """Figures that the served model leans on: what, value, source."""


def with_grouped(model: Model, name: str, change: Callable[[GroupedAttention], Attention]) -> Model:
    """The model with its full grouped attentions changed; ScenarioError when it has none."""

    def fits(attention: Attention) -> bool:
        return type(attention) is GroupedAttention and attention.window_tokens is None

    if not any(fits(layer.attention) for layer in model.layers):
        raise ScenarioError(
            f"sparsity: {name} selects keys of full grouped attention and {model.name} has none; "
            "write none"
        )
    layers = tuple(
        replace(la, attention=change(la.attention))  # type: ignore[arg-type]
        if fits(la.attention)
        else la
        for la in model.layers
    )
    return replace(model, layers=layers)


def budgeted(
    grouped: GroupedAttention, budget_tokens: int, scan: float, kept: float
) -> BudgetedAttention:
    """`grouped` with a token budget."""
    return BudgetedAttention(
        grouped.q_heads,
        grouped.kv_heads,
        grouped.head_dim,
        grouped.window_tokens,
        grouped.qkv_bias,
        grouped.o_bias,
        grouped.qk_norm,
        grouped.sinks,
        grouped.output_gate,
        budget_tokens,
        scan,
        kept,
    )
