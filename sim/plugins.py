"""Extension points: a folder of modules, one public class each, named by the file.

`Annotated[Protocol, policy(package)]` is a setting of such a folder: the scenario writes the file's
name, or `{name: {setting: value}}`, and gets the class made with those settings. There is no
registry: a new file is the whole change.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from sim.decoding import SettingError, first_problem
from sim.errors import suggest


@cache
def names(package: str) -> tuple[str, ...]:
    """The policies of a plural folder, sorted: its module names without the private ones."""
    module = importlib.import_module(package)
    found = (m.name for m in pkgutil.iter_modules(module.__path__))
    return tuple(sorted(n for n in found if not n.startswith("_")))


@cache
def load(package: str, name: str) -> type[Any]:
    """The one public class that `package/name.py` defines.

    Raises ValueError, with a suggestion, when there is no such file.
    """
    if name not in names(package):
        kind = package.rsplit(".", 1)[-1]
        raise ValueError(f"'{name}' is not one of the {kind}{suggest(name, names(package))}")
    module = importlib.import_module(f"{package}.{name}")
    public = [
        c
        for n, c in vars(module).items()
        if inspect.isclass(c) and c.__module__ == module.__name__ and not n.startswith("_")
    ]
    if len(public) != 1:
        raise TypeError(f"{package}.{name} must define exactly one public class, not {public}")
    cls: type[Any] = public[0]
    return cls


def name_of(policy: object) -> str:
    """The name under which a scenario asks for `policy`: its file's."""
    return type(policy).__module__.rsplit(".", 1)[-1]


_described: list[str] = []
"""Folders whose JSON Schema is being made."""


class _PolicySchema:
    """Decodes `name` or `{name: settings}` into the policy's settings object."""

    def __init__(self, package: str) -> None:
        self.package = package

    def decode(self, value: object) -> object:
        given: Any = {}
        if isinstance(value, str):
            name = value
        elif isinstance(value, dict) and len(value) == 1:
            name, given = next(iter(value.items()))
            given = {} if given is None else given
        elif type(value).__module__.startswith(self.package + "."):
            return value
        else:
            kind = self.package.rsplit(".", 1)[-1]
            raise ValueError(
                f"write one of the {kind} as 'name' or {{name: {{settings}}}}{self._meant(value)}"
            )
        cls = load(self.package, str(name))
        try:
            return TypeAdapter(cls).validate_python(given)
        except ValidationError as problem:
            path, says = first_problem(problem, cls)
            raise SettingError(f"{name}.{path}" if path else str(name), says) from problem

    def _meant(self, value: object) -> str:
        """How a bare number is written, in folders that say so (`OF_A_NUMBER`)."""
        text = getattr(importlib.import_module(self.package), "OF_A_NUMBER", None)
        if text is None or isinstance(value, bool) or not isinstance(value, (int, float)):
            return ""
        return f"; this number is {text.format(value)}"

    def encode(self, policy: object) -> dict[str, object]:
        dumped = TypeAdapter(type(policy)).dump_python(policy, mode="json")
        return {name_of(policy): dumped}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.decode,
            serialization=core_schema.plain_serializer_function_ser_schema(self.encode),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The bare names of those that need no settings, or one name with its settings. The
        handler keeps every settings class in the `$defs` of the whole schema. A policy inside one
        of its own folder (a law made of another) is described by its name alone."""
        if self.package in _described:
            named = {"type": "object", "propertyNames": {"enum": list(names(self.package))}}
            return named | {"minProperties": 1, "maxProperties": 1}
        _described.append(self.package)
        try:
            return self._options(handler)
        finally:
            _described.pop()

    def _options(self, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        bare: list[str] = []
        options: list[dict[str, Any]] = []
        for name in names(self.package):
            cls = load(self.package, name)
            below: dict[str, Any] = handler(TypeAdapter(cls).core_schema)
            if not any(_is_required(field) for field in dataclasses.fields(cls)):
                bare.append(name)
                below = {"anyOf": [below, {"type": "null"}]}
            options.append(
                {
                    "type": "object",
                    "properties": {name: below},
                    "required": [name],
                    "additionalProperties": False,
                }
            )
        return {"anyOf": [{"enum": bare}, *options] if bare else options}


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def policy(package: str) -> _PolicySchema:
    """The annotation of a setting that names a file of `package`:
    `router: Annotated[Router, policy("sim.cluster.routers")]`."""
    return _PolicySchema(package)
