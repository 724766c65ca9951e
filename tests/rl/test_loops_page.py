"""What docs/loops.md shows can be run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import planned

PAGE = (Path(__file__).parents[2] / "docs" / "loops.md").read_text(encoding="utf-8")
SHOWN: list[dict[str, Any]] = [
    yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
]


@pytest.mark.parametrize("part", SHOWN, ids=lambda part: "+".join(part.get("rl", part)))
def test_every_scenario_and_every_part_of_one_on_the_page_goes(part: dict[str, Any]) -> None:
    whole = SHOWN[0]
    tree = whole | part | {"rl": whole["rl"] | part["rl"], "topology": {"name": "dgx_h100"}}
    tree["topology"] |= {"nodes": 4}
    plan = planned(tree)
    assert plan.loop is not None
