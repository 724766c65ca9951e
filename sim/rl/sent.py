"""What a weight sync carries: the weights that training changes, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.catalog.counting import total_params
from sim.catalog.model import Model
from sim.perf.training import Recipe
from sim.perf.training.sizes import lora_params, lora_tensors
from sim.perf.training.weight_sync import tensor_count


@dataclass(frozen=True, slots=True)
class Sent:
    """From a trainer to every engine, each time."""

    params: float
    """Of the policy, or of its adapters."""
    draft_params: float
    """Of what drafts for it."""
    tensors: int
    """Of the policy, or of its adapters."""
    adapters: bool
    """Whether the policy's own weights stay as they are."""

    def assumptions(self) -> list[dict[str, str]]:
        """What is taken for granted of the engines and of the drafts."""
        rows = []
        if self.adapters:
            why = "assumed: base weights stay in the engines, which compute as without adapters"
            value = f"{self.params:.4g} parameters of adapters"
            rows.append({"what": "weights sent", "value": value, "source": why})
        if self.draft_params:
            why = (
                "assumed: drafts are fitted to the policy in every step (arXiv 2604.26779), at no "
                "cost to the trainer, and travel with it; acceptance {drift: …} without "
                "refit_every leaves them as they are"
            )
            value = f"{self.draft_params:.4g} parameters"
            rows.append({"what": "drafts sent with the weights", "value": value, "source": why})
        return rows


def sent(recipe: Recipe, model: Model, draft_params: Sequence[float]) -> Sent:
    """Adapters alone where they are what is trained (LoRA, arXiv 2106.09685), else the whole
    policy; and the largest draft of the pools."""
    most = max(draft_params, default=0.0)
    if recipe.method == "lora":
        params = float(lora_params(model, recipe.lora_rank))
        return Sent(params, most, lora_tensors(model), True)
    return Sent(float(total_params(model)), most, tensor_count(model), False)
