"""A machine as its file in `topologies/` describes it: groups of nodes, network, sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

import sim
from sim import plugins
from sim.decoding import decode as decode_settings
from sim.errors import ScenarioError, suggest
from sim.network.group import Tuning
from sim.network.plan import ScaleOut, Shape
from sim.settings import settings
from sim.units import PositiveInt

SHAPES = "sim.network.shapes"


@settings
class NodeGroup:
    """Nodes of one sort."""

    shape: Annotated[Shape, plugins.policy(SHAPES)]
    """The node's shape, with its figures."""
    gpu: str
    """Name of a GPU in the catalog."""
    nodes: PositiveInt = 1
    """How many; of rack-scale shapes, how many racks."""


@settings
class Machine:
    """The contents of a topology file. Every figure in it has a line in `sources`."""

    summary: str
    """What it is, in a line."""
    groups: Annotated[tuple[NodeGroup, ...], Field(min_length=1)]
    """Sorts of nodes, all on one network."""
    network: ScaleOut | None = None
    """Leaves and spine; none when the machine is one scale-up domain."""
    collectives: Tuning = Tuning()
    """What software achieves on the wires; the wires alone when left out."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Figure → where it is from; a guess begins with `assumed:`."""


def folders() -> tuple[Path, ...]:
    """Where topology files are looked for, in this order."""
    return (Path.cwd() / "topologies", Path(sim.__file__).parent.parent / "topologies")


def topology_names() -> tuple[str, ...]:
    """Names that `load_topology` knows, sorted."""
    return tuple(sorted({p.stem for folder in folders() for p in folder.glob("*.yaml")}))


def read_machine(name_or_path: str | Path) -> tuple[str, Machine]:
    """(name, contents) of a machine: one of `topology_names()`, or a YAML file of the user's.

    Raises ScenarioError, naming the file and the setting, when it is absent or ill-written.
    """
    path = _find(name_or_path)
    try:
        contents = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ScenarioError(f"topology {path} cannot be read: {problem}") from problem
    return path.stem, decode(contents, path.stem)


def decode(contents: object, name: str) -> Machine:
    """The machine that a file's contents (a mapping) describe; ScenarioError if they do not."""
    if not isinstance(contents, Mapping):
        raise ScenarioError(f"topology '{name}' must be a mapping with 'summary' and 'groups'")
    machine = decode_settings(Machine, dict(contents), f"topology '{name}'")
    figures = set(_figures(contents))
    for figure in sorted(figures - machine.sources.keys()):
        raise ScenarioError(
            f"topology '{name}': '{figure}' has no line in 'sources'; say where the figure is "
            f"from, or begin with 'assumed:'"
        )
    for figure in sorted(machine.sources.keys() - figures):
        raise ScenarioError(
            f"topology '{name}': 'sources' names '{figure}', which the file does not set"
            f"{suggest(figure, figures)}"
        )
    return machine


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        if Path(text).is_file():
            return Path(text)
        raise ScenarioError(f"topology '{text}' is not a file")
    for folder in folders():
        if (folder / f"{text}.yaml").is_file():
            return folder / f"{text}.yaml"
    raise ScenarioError(f"topology '{text}' is not known{suggest(text, topology_names())}")


def _figures(contents: Mapping[str, Any]) -> Iterator[str]:
    """Names of the figures that a file sets, as they are to be written under `sources`."""
    for group in contents.get("groups", ()):
        shape = group["shape"]
        for given in shape.values() if isinstance(shape, Mapping) else ():
            yield from given or ()
    yield from contents.get("network") or ()
    yield from (f"collectives.{key}" for key in contents.get("collectives") or ())
