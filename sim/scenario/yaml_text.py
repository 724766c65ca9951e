"""YAML as scenarios are written in: mistakes are told with their line, and no key stands twice."""

from __future__ import annotations

from typing import Any

import yaml

from sim.errors import ScenarioError


class _Loader(yaml.SafeLoader):
    """PyYAML would silently take the last of two equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key.value}' is written twice; keep one of them", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, where: str) -> Any:
    """The value that `text` stands for; ScenarioError, beginning with `where`, with line and
    column."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        hint = "" if ";" in problem else "; look at the indentation, colons and quotes there"
        raise ScenarioError(f"{where}{at}: {problem}{hint}") from None
