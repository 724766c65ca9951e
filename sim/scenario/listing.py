"""What may be named in a scenario: every kind of thing, and what there is of it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from sim import plugins
from sim.decoding import meanings
from sim.errors import ScenarioError, suggest
from sim.scenario.settings import Settings
from sim.scenario.tree import policies

Row = dict[str, Any]


def kinds() -> dict[str, str]:
    """Every kind with the settings that name one: the catalog's, then the folders of policies."""
    found = {
        "gpus": "pools.NAME.gpu, and in topologies",
        "models": "model",
        "formats": "pools.NAME.precision",
        "topologies": "topology",
    }
    for kind, (_, places) in sorted(_folders().items()):
        found[kind] = ", ".join(places)
    return found


def rows_of(kind: str) -> list[Row]:
    """What there is of a kind; each row has at least `name` and `meaning` or figures. Raises
    ScenarioError for an unknown kind."""
    if kind in _CATALOG:
        return _CATALOG[kind]()
    folders = _folders()
    if kind not in folders:
        raise ScenarioError(f"there is no list of '{kind}'{suggest(kind, kinds())}")
    package = folders[kind][0]
    return [_policy_row(package, name) for name in plugins.names(package)]


def _folders() -> dict[str, tuple[str, list[str]]]:
    """Plural folder → (package, settings that name a file of it)."""
    found: dict[str, tuple[str, list[str]]] = {}
    for package, path in policies(Settings):
        _, places = found.setdefault(package.rsplit(".", 1)[-1], (package, []))
        places.append(".".join(path))
    return found


def _policy_row(package: str, name: str) -> Row:
    cls = plugins.load(package, name)
    module = importlib.import_module(f"{package}.{name}")
    means = meanings(cls)
    return {
        "name": name,
        "meaning": first_sentence(inspect.getdoc(module) or inspect.getdoc(cls) or ""),
        "settings": {f.name: _setting(f, means) for f in dataclasses.fields(cls)},
    }


def _setting(field: dataclasses.Field[Any], means: dict[str, str]) -> Row:
    needed = field.default is field.default_factory is dataclasses.MISSING
    default = None if needed else field.default
    plain = default is None or isinstance(default, (bool, int, float, str))
    return {
        "needed": needed,
        "default": default if plain else plugins.name_of(default),
        "meaning": means.get(field.name, ""),
    }


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`(])", paragraph)[0]


def _gpus() -> list[Row]:
    from sim.catalog.listing import gpu_rows

    return gpu_rows()


def _models() -> list[Row]:
    from sim.catalog.listing import model_rows

    return model_rows()


def _formats() -> list[Row]:
    from sim.catalog.listing import format_rows

    return format_rows()


def _topologies() -> list[Row]:
    from sim.network.topology import load_topology, topology_names

    rows = []
    for name in topology_names():
        topology = load_topology(name)
        gpus = list(dict.fromkeys(d.gpu for d in topology.devices))
        rows.append(
            {
                "name": name,
                "meaning": topology.summary,
                "gpus": gpus,
                "devices": len(topology.devices),
                "nodes": len({d.node for d in topology.devices}),
                "assumed": sorted(topology.assumptions),
                "sources": topology.sources,
            }
        )
    return rows


_CATALOG: dict[str, Callable[[], list[Row]]] = {
    "gpus": _gpus,
    "models": _models,
    "formats": _formats,
    "topologies": _topologies,
}
