"""Imports point one way (the table of docs and design), and files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIM = ROOT / "sim"

GROUND = {"errors", "units", "rng", "plugins", "settings", "decoding", "clock"}
"""What every room may use; it uses nothing but itself."""

ENTRIES = {"api", "cli", "__main__", "__init__"}
"""What puts everything together; no room may use it."""

_ENGINE = {"network", "kvcache", "perf", "workload", "record", "catalog"}
_CLUSTER = _ENGINE | {"engine"}
MAY_USE: dict[str, set[str]] = {
    "catalog": set(),
    "workload": set(),
    "record": set(),
    "kvcache": set(),
    "network": {"record", "catalog"},
    "perf": {"network", "catalog"},
    "engine": _ENGINE,
    "cluster": _CLUSTER,
    "rl": _CLUSTER | {"cluster"},
    "scenario": _CLUSTER | {"cluster", "rl"},
    "measure": {"record", "catalog"},
    "report": {"measure", "record", "catalog"},
    "search": {"scenario", "perf", "network", "workload", "measure", "record", "catalog"},
    "fidelity": {
        "scenario", "search", "perf", "network", "workload", "measure", "record", "catalog",
    },
}  # fmt: skip

PERF_SEES_OF_NETWORK = {
    "sim.network.topology", "sim.network.collectives", "sim.network.sharing",
}  # fmt: skip
SIMPY_FREE = (
    "catalog", "perf", "kvcache", "workload", "measure", "report", "record", "network",
)  # fmt: skip
KNOWS_SIMPY = {"sim.clock", "sim.engine", "sim.cluster", "sim.rl", "sim.scenario",
               "sim.network.fabrics"}  # fmt: skip
LINES = 350

FILES = sorted(SIM.rglob("*.py"))


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(f): f for f in FILES}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of a file: inside functions and TYPE_CHECKING too. Of
    `from a import b` it is a.b where that is a module, else a."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else str(node.module)


def loaded_with(file: Path) -> Iterator[str]:
    """The modules that importing a file imports: not those in functions or TYPE_CHECKING."""
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)
        waiting += ast.iter_child_nodes(node)


def room_of(module: str) -> str:
    """The first component below `sim`; empty for the rest of the world (`simpy` is not `sim`)."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sim" and len(parts) > 1 else ""


def within(module: str, packages: set[str]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def test_every_folder_of_sim_has_its_line_in_the_table() -> None:
    rooms = {p.name for p in SIM.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert rooms - {"cli"} <= set(MAY_USE), rooms - set(MAY_USE)
    files = {p.stem for p in SIM.glob("*.py")}
    assert files <= GROUND | ENTRIES, f"no room for sim/{files - GROUND - ENTRIES}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    room = room_of(module_of(file) + "." + file.stem if file.parent == SIM else module_of(file))
    if room in ENTRIES or module_of(file) == "sim":
        return
    allowed = GROUND if room in GROUND else GROUND | {room} | MAY_USE[room]
    where = file.relative_to(ROOT)
    for line, module in imports(file):
        used = room_of(module)
        if not used:
            continue
        assert used in allowed, f"{where}:{line}: {room} may not use {used} ({module})"
        if room == "perf" and used == "network":
            assert within(module, PERF_SEES_OF_NETWORK), (
                f"{where}:{line}: perf sees of network only "
                f"{', '.join(sorted(PERF_SEES_OF_NETWORK))}, not {module}"
            )


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_only_those_who_let_time_pass_import_simpy(file: Path) -> None:
    if within(module_of(file), KNOWS_SIMPY):
        return
    for line, module in imports(file):
        assert module.split(".")[0] != "simpy", (
            f"{file.relative_to(ROOT)}:{line}: {room_of(module_of(file))} imports SimPy"
        )


def closure(first: str) -> dict[str, str]:
    """Everything that importing a module imports, with who imports it."""
    found, waiting = {first: ""}, [first]
    while waiting:
        module = waiting.pop()
        parents = [module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)]
        reached = [*parents, *(loaded_with(MODULES[module]) if module in MODULES else ())]
        for other in reached:
            if other not in found:
                found[other] = module
                waiting.append(other)
    return found


def path_to(module: str, found: dict[str, str]) -> str:
    names = [module]
    while found[names[-1]]:
        names.append(found[names[-1]])
    return " ← ".join(names)


@pytest.mark.parametrize("room", SIMPY_FREE)
def test_what_has_no_clock_never_loads_simpy_not_even_through_others(room: str) -> None:
    for module in MODULES:
        if room_of(module) != room or within(module, {"sim.network.fabrics"}):
            continue
        found = closure(module)
        assert "simpy" not in found, path_to("simpy", found)


@pytest.mark.parametrize("room", ["measure", "report"])
def test_those_who_read_tables_load_nothing_that_simulates(room: str) -> None:
    simulating = {"engine", "cluster", "kvcache", "perf", "network", "workload", "rl", "scenario"}
    for module in MODULES:
        if room_of(module) == room:
            found = closure(module)
            for other in found:
                assert room_of(other) not in simulating, path_to(other, found)


def test_the_interpreter_agrees_that_simpy_is_not_loaded() -> None:
    """The same for real: import every module of the rooms without a clock, and look."""
    modules = [
        m for m in MODULES
        if room_of(m) in SIMPY_FREE and not within(m, {"sim.network.fabrics"})
    ]  # fmt: skip
    code = (
        f"import importlib, sys\nfor m in {modules!r}:\n    importlib.import_module(m)\n"
        "    assert 'simpy' not in sys.modules, m\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_file_tells_one_idea(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= LINES, f"{file.relative_to(ROOT)}: {lines} lines; look for the second idea"
