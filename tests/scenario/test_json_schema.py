"""The published JSON Schema accepts what the program accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim import plugins
from sim.scenario.json_schema import json_schema
from sim.scenario.scenario import Scenario

REPOSITORY = Path(__file__).parents[2]
EXPERIMENTS = sorted((REPOSITORY / "experiments").glob("*/*.yaml"))
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def problems(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> Iterator[str]:
    """What a validator would say, for the words of JSON Schema that are used here."""
    known = {"$ref", "anyOf", "enum", "const", "type", "properties", "required", "default", "title",
             "additionalProperties", "description", "exclusiveMinimum", "minimum", "maximum",
             "minProperties", "$defs", "$schema", "exclusiveMaximum", "items"}  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    if "$ref" in schema:
        yield from problems(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root)
    if "anyOf" in schema and all(list(problems(s, value, root)) for s in schema["anyOf"]):
        yield f"{value!r} is none of {len(schema['anyOf'])}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} is not one of {schema['enum']}"
    kind = schema.get("type")
    if kind and (
        not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        yield f"{value!r} is no {kind}"
        return
    if isinstance(value, (int, float)) and value < schema.get("minimum", -1e300):
        yield f"{value!r} is too small"
    if isinstance(value, (int, float)) and not value > schema.get("exclusiveMinimum", -1e300):
        yield f"{value!r} is too small"
    if isinstance(value, dict):
        yield from _inside(schema, value, root)
    for item in value if isinstance(value, list) else ():
        yield from problems(schema.get("items", {}), item, root)


def _inside(schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{name} is missing"
    more = schema.get("additionalProperties", True)
    for name, inner in value.items():
        if name in schema.get("properties", {}):
            yield from problems(schema["properties"][name], inner, root)
        elif more is False:
            yield f"{name} is unknown"
        elif isinstance(more, dict):
            yield from problems(more, inner, root)


SCHEMA = json_schema()


def valid(tree: Any) -> bool:
    found = list(problems(SCHEMA, tree, SCHEMA))
    try:
        import jsonschema
    except ImportError:
        return not found
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(tree) == (not found)
    return not found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    for reference in references(SCHEMA):
        assert reference.removeprefix("#/$defs/") in SCHEMA["$defs"]


def test_there_are_no_definitions_inside() -> None:
    def nested(value: Any) -> bool:
        if isinstance(value, dict):
            return "$defs" in value or any(map(nested, value.values()))
        return isinstance(value, list) and any(map(nested, value))

    assert not any(nested(v) for v in SCHEMA.values())


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda p: p.parent.name + "/" + p.name)
def test_the_experiments_fit_the_schema(file: Path) -> None:
    assert valid(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda p: p.parent.name + "/" + p.name)
def test_resolved_scenarios_fit_the_schema(file: Path) -> None:
    assert valid(yaml.safe_load(Scenario.load(file).to_yaml()))


WRONG = [
    {"deployment": {"aggregated": {"routr": "random"}}},
    {"deployment": {"aggregated": {"router": "randm"}}},
    {"deployment": {"aggregated": {}, "disaggregated": {}}},
    {"pools": {"serve": {"engine": {"max_num_seqs": 0}}}},
    {"pools": {"serve": {"engin": {}}}},
    {"admission": "limit"},
    {"admission": {"limit": {}}},
    {"seed": "one"},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_what_the_program_refuses_does_not_fit_the_schema(change: dict[str, Any]) -> None:
    assert not valid(yaml.safe_load(EXPERIMENTS[0].read_text()) | change)


def test_settings_carry_their_meaning() -> None:
    engine = SCHEMA["$defs"]["EngineSettings"]["properties"]
    assert engine["block_size"]["description"] == "Tokens per KV block."
    assert all("description" in p for p in SCHEMA["properties"].values())


def test_every_router_may_be_named() -> None:
    text = str(SCHEMA["properties"]["deployment"])
    assert all(f"'{name}'" in text for name in plugins.names("sim.cluster.routers"))
