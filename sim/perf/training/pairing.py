"""What of a recipe goes with which layout."""

from __future__ import annotations

from sim.catalog.model import Model, MoeFfn
from sim.errors import ScenarioError
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.recipe import Recipe


def check_recipe(layout: TrainingLayout, recipe: Recipe, model: Model) -> None:
    """Refuse a recipe that the layout does not go with, or of which a part would do nothing."""
    moe = any(isinstance(x.ffn, MoeFfn) for x in model.layer_counts)
    if moe and layout.dispatches and layout.tp > 1 and not layout.sequence_parallel:
        raise ScenarioError(
            f"rl.trainer.layout: ep={layout.ep}, etp={layout.expert_tp} with tp={layout.tp} needs "
            "sequence_parallel=true, or every token would be dispatched tp times; set it, or tp = 1"
        )
    if recipe.swap is not None and (recipe.recompute != "full" or layout.pp > 1):
        raise ScenarioError(
            f"rl.trainer.recipe: swap needs recompute 'full' and one stage, not "
            f"'{recipe.recompute}' and pp={layout.pp}; set them so, or leave swap out"
        )
    if recipe.zero >= 2 and layout.pp > 1:
        raise ScenarioError(
            f"rl.trainer.recipe: zero={recipe.zero} with pp={layout.pp} would reduce gradients for "
            "every micro-batch of the pipeline; use zero: 1, or pp = 1"
        )
    _check_idle(layout, recipe)


def _check_idle(layout: TrainingLayout, recipe: Recipe) -> None:
    """Settings that nothing would look at."""
    if recipe.lora_rank != Recipe().lora_rank and recipe.method != "lora":
        raise ScenarioError(
            f"rl.trainer.recipe: lora_rank={recipe.lora_rank} has no effect with method "
            f"'{recipe.method}', which has no adapters; leave it out, or write method: lora"
        )
    if recipe.tp_overlap and layout.tp == 1:
        raise ScenarioError(
            f"rl.trainer.recipe: tp_overlap={recipe.tp_overlap:g} has no effect with tp=1, where "
            "nothing is exchanged; leave it out, or write tp 2 or more"
        )
    if recipe.p2p_overlap and layout.pp == 1:
        raise ScenarioError(
            "rl.trainer.recipe: p2p_overlap=true has no effect with pp=1, where no stage sends to "
            "another; leave it out, or write pp 2 or more"
        )
