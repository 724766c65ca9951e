"""The settings tree as types: what may stand under a key, and where policies are named."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from sim import plugins
from sim.decoding import dataclasses_in

Path = tuple[str, ...]


def policy_package(hint: Any) -> str | None:
    """The folder that a setting of this type names a file of; None for other settings."""
    for extra in getattr(hint, "__metadata__", ()):
        package = getattr(extra, "package", None)
        if isinstance(package, str):
            return package
    found = (policy_package(a) for a in typing.get_args(hint))
    return next((package for package in found if package), None)


def below(hint: Any, key: str) -> Any:
    """The type of what stands under `key` in a value of type `hint`; None if nothing can."""
    package = policy_package(hint)
    if package is not None:
        return plugins.load(package, key) if key in plugins.names(package) else None
    for cls in dataclasses_in(hint):
        hints = typing.get_type_hints(cls, include_extras=True)
        if key in hints:
            return hints[key]
    return next((typing.get_args(d)[-1] for d in _dicts_in(hint)), None)


def policies(
    hint: Any, above: Path = (), inside: tuple[str, ...] = ()
) -> Iterator[tuple[str, Path]]:
    """(folder, path of the setting) wherever a policy may be named, policies inside policies too,
    but not those made of others of their own folder. The key of a mapping by name is written
    NAME."""
    package = policy_package(hint)
    if package is not None:
        if package in inside:
            return
        yield package, above
        for name in plugins.names(package):
            yield from policies(plugins.load(package, name), (*above, name), (*inside, package))
        return
    for cls in dataclasses_in(hint):
        for name, inner in typing.get_type_hints(cls, include_extras=True).items():
            yield from policies(inner, (*above, name), inside)
    for mapping in _dicts_in(hint):
        yield from policies(typing.get_args(mapping)[-1], (*above, "NAME"), inside)


def _dicts_in(hint: Any) -> list[Any]:
    if typing.get_origin(hint) is dict:
        return [hint]
    return [d for a in typing.get_args(hint) for d in _dicts_in(a)]
