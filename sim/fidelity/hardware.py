"""What other people's files call GPUs, engines and models, as names of this catalog."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sim.catalog.files import names
from sim.catalog.gpu import Gpu, load_gpu
from sim.catalog.model import model_names
from sim.errors import ScenarioError, suggest
from sim.network.machine import read_machine, topology_names
from sim.network.topology import load_topology

ALIASES = {"a100": "a100-80", "a100-80gb": "a100-80", "a100-40gb": "a100-40"}
"""An A100 without a size is the SXM card with 80 GB, as in AIConfigurator's `a100_sxm`."""


@cache
def gpu_called(name: str) -> Gpu:
    """The GPU that `h100_sxm`, `H100-80GB` or `a100_sxm` means; ScenarioError if none."""
    plain = re.sub(r"[-_ ](sxm\d?|nvl\d+)$", "", name.strip().lower())
    plain = plain.replace("_", "-")
    plain = ALIASES.get(plain, plain)
    known = names("gpus", ".yaml")
    bare = re.sub(r"-\d+gb$", "", plain)
    for tried in (plain, ALIASES.get(bare, bare)):
        if tried in known:
            return load_gpu(tried)
    raise ScenarioError(f"GPU '{name}' is not in the catalog{suggest(plain, known)}")


def is_gpu(name: str) -> bool:
    """Whether `gpu_called` knows it."""
    try:
        gpu_called(name)
    except ScenarioError:
        return False
    return True


_VERSION = re.compile(r"([A-Za-z]+)-(\d+\.\d+)")


def engine_called(name: str) -> str:
    """An engine with its version to the second part: `trtllm-1.3.0rc20` is `trtllm-1.3`."""
    found = _VERSION.match(name.strip())
    return f"{found[1].lower()}-{found[2]}" if found else name.strip().lower()


def is_engine(name: str) -> bool:
    """Whether a name is that of an engine with its version."""
    return _VERSION.match(name.strip()) is not None


def agree(path: Path, option: str, given: str, there: str) -> None:
    """ScenarioError where an option says something else than the path of the measurements."""
    if given != there:
        raise ScenarioError(
            f"{option} says {given} and the path of '{path}' says {there}; leave {option} out, or "
            "name another file"
        )


_SUFFIXES = re.compile(
    r"(instruct|chat|base|hf|it|fp8|fp4|nvfp4|mxfp4|bf16|kv|dynamic|exp|preview|-v\d[\w.]*|\d{4})$"
)
_PREFIXES = re.compile(r"^meta-")


@cache
def model_called(name: str) -> str:
    """The catalog's name of `meta-llama/Llama-3.1-8B-Instruct`, `llama2-70b`, …: letters and
    digits are compared, without the organisation and what follows the size (`-Instruct`, `-FP8`).
    A path of a config.json stays as it is. ScenarioError if there is none."""
    if name.endswith(".json"):
        return name
    known = {_letters(n): n for n in model_names()}
    plain = _PREFIXES.sub("", name.strip().rsplit("/", 1)[-1].lower())
    while True:
        if _letters(plain) in known:
            return known[_letters(plain)]
        shorter = _SUFFIXES.sub("", plain).rstrip("-_.")
        if shorter == plain:
            raise ScenarioError(
                f"model '{name}' is not in the catalog{suggest(plain, known.values())}"
            )
        plain = shorter


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def machine_with(gpu: str, devices: int) -> str | None:
    """The machine of `topologies/` with one node of nothing but this GPU and enough of them;
    None if there is none. Machines with wires of their own come before an ideal switch."""
    found = []
    for name in topology_names():
        machine = read_machine(name)[1]
        if {g.gpu for g in machine.groups} != {gpu} or len(machine.groups) != 1:
            continue
        count = len(load_topology(name, nodes=1).devices)
        if count >= devices:
            found.append((machine.network is None, count, name))
    return min(found)[2] if found else None
