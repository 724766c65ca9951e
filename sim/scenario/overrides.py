"""`--set a.b=c`: one setting of a scenario changed from outside its file."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from sim import plugins
from sim.errors import ScenarioError, suggest
from sim.scenario.tree import below, policy_package
from sim.scenario.yaml_text import read_yaml


def override(tree: dict[str, Any], text: str, cls: Any) -> None:
    """Apply `a.b=c` to `tree`, the plain settings of `cls`. The value is YAML; mappings on the way
    are made as needed, and a short form (`router: least_loaded`) is spelt out. Raises
    ScenarioError when the path leads through a value that has nothing below it."""
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ScenarioError(
            f"--set {text!r} is not of the form path.to.setting=value; "
            "write for example --set pools.serve.engines=4"
        )
    at, hint = tree, cls
    for i, key in enumerate(keys[:-1]):
        hint = below(hint, key)
        try:
            inside = _mapping(at.get(key), hint, keys[i + 1])
        except ValueError as problem:
            raise ScenarioError(f"--set {text!r}: '{'.'.join(keys[: i + 1])}' {problem}") from None
        at[key] = at = inside
    at[keys[-1]] = read_yaml(value, f"--set {text!r}")


def _mapping(value: object, hint: Any, key: str) -> dict[str, Any]:
    """`value` as a mapping in which `key` may be set; ValueError if it is none."""
    if value is None:
        return {}
    package = policy_package(hint)
    if package is not None:
        return _policy(value, package, key)
    if isinstance(value, dict):
        return value
    spelt_out = _spelt_out(value, hint)
    if spelt_out is None:
        raise ValueError(f"is {value!r}, which has no settings below it")
    return spelt_out


def _policy(value: object, package: str, key: str) -> dict[str, Any]:
    """The mapping {key: settings} of a policy that is written as `value`."""
    if key not in plugins.names(package):
        kind = package.rsplit(".", 1)[-1]
        raise ValueError(f"has no '{key}' among the {kind}{suggest(key, plugins.names(package))}")
    if isinstance(value, str):
        return {value: {}} if value == key else {}
    if not isinstance(value, dict):
        raise ValueError(f"is {value!r}, which has no settings below it")
    if value and key not in value:
        raise ValueError(
            f"is '{', '.join(map(str, value))}' in the scenario; to have '{key}' instead, give it "
            f"whole: ={key}, or ={{{key}: {{…}}}}"
        )
    return value


def _spelt_out(value: object, hint: Any) -> dict[str, Any] | None:
    """The mapping that a short form stands for."""
    if hint is None:
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    try:
        plain = adapter.dump_python(adapter.validate_python(value), mode="json")
    except ValidationError:
        return None
    return plain if isinstance(plain, dict) else None
