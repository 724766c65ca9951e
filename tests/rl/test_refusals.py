"""What is written in a loop and cannot be meant: refused, by its name in the scenario."""

from __future__ import annotations

import pytest
from helpers import planned
from helpers.loops import loop_tree

from sim.errors import ScenarioError

APART = {"placement": "apart"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trainer": {"layout": {"tp": 3, "dp": 1}} | APART}, r"^rl\.trainer\.layout: tp=3"),
        (
            {"trainer": {"layout": {"tp": 1, "dp": 1}, "recipe": {}}},
            r"^rl\.trainer: .*use recipe\.recompute: full.*a lower micro_batch_tokens",
        ),
        ({"response_tokens": 500}, r"this number is \{constant: \{tokens: 500\}\}"),
        (
            {"response_tokens": {"empirical": {"path": "nowhere.csv", "column": "x"}}},
            r"^rl\.response_tokens: there is no file nowhere\.csv",
        ),
        ({"reward": {"sandbox": {"seconds": 1, "timeout": "adaptiv"}}}, "mean 'adaptive'"),
        ({"reward": {"sandbox": {"seconds": 1, "timeout": "soon"}}}, "adaptive, or {factor: 1.5"),
        ({"reward": {"sandbox": {"seconds": 1, "timeout": 0}}}, "more than 0"),
        ({"cadence": {"over_sampling": {"factor": 1e9}}}, "at most 100"),
        ({"cadence": {"partial_rollout": {"factor": 1e9}}}, "at most 100"),
        ({"cadence": {"tail_packing": {"prompts_factor": 1e9}}}, "at most 100"),
        (
            {"cadence": {"tail_packing": {"samples_factor": 50}}, "samples_per_prompt": 2000},
            "more than 4096 samples",
        ),
        ({"cadence": {"repacking": {"every_s": 1e-6}}, "trainer": APART}, "at least 0.01"),
        ({"reward": {"rule": {"seconds": {"mean_s": 1, "cv": 1e200}}}}, "at most 1000"),
        ({"weight_sync": {"bytes_per_param": 1e9}, "trainer": APART}, "at most 8"),
        ({"trainer": {"failures": {"gpu_mtbf_hours": 1e-9}}}, "at least 0.001"),
        ({"weight_sync": {"pieces": 8}, "trainer": APART}, "pieces 8 has no effect"),
        ({"weight_sync": {"pcie_fraction": 0.5}, "trainer": APART}, "pull: true"),
        ({"weight_sync": {"index_bytes": 2}, "trainer": APART}, "sparse_share below 1"),
        ({"weight_sync": {"gather": "tensors"}, "trainer": APART}, "gather tensors has no effect"),
        (
            {"weight_sync": {"gather": "tensors", "by": "sender"}, "trainer": APART},
            "gather tensors has no effect",
        ),
        ({"weight_sync": {"quantise_tensor_s": 1.0}, "trainer": APART}, "quantise: sender"),
        ({"trainer": {"recipe": {"lora_rank": 4}}}, "lora_rank=4 has no effect"),
        ({"trainer": {"recipe": {"tp_overlap": 0.5}}}, "tp_overlap=0.5 has no effect"),
        ({"trainer": {"recipe": {"p2p_overlap": True}}}, "p2p_overlap=true has no effect"),
        ({"trainer": {"layout": {"tp": 2, "etp": 1}}}, "etp=1 divides an expert"),
        ({"trainer": {"layout": {"dp": 2, "vocabulary": "stages"}}}, "has no effect with pp=1"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(changes: dict[str, object], says: str) -> None:
    tree = loop_tree("synchronous")
    trainer = changes.pop("trainer", {})
    tree["rl"] |= changes
    tree["rl"]["trainer"] |= trainer
    with pytest.raises(ScenarioError, match=says):
        planned(tree)
