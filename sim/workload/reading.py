"""From the path that a scenario names to a trace."""

from __future__ import annotations

from pathlib import Path

from sim import plugins
from sim.errors import ScenarioError
from sim.workload.readers import Reader
from sim.workload.trace import Trace

READERS = "sim.workload.readers"


def read_trace(path: str | Path, reader: str | Reader = "auto", base: Path | None = None) -> Trace:
    """The trace in a file, gzipped or not.

    `reader` is the name of a format (`auto` looks at the file) or a reader's settings. A relative
    path is looked up by `find_file`. Raises ScenarioError when there is no such file, when it is
    of no known format, or when it is damaged.
    """
    chosen = _reader_called(reader) if isinstance(reader, str) else reader
    return chosen.read(find_file(path, base))


def _reader_called(name: str) -> Reader:
    try:
        made: Reader = plugins.load(READERS, name)()
    except ValueError as error:
        raise ScenarioError(f"workload.reader: {error}") from None
    return made


def find_file(path: str | Path, base: Path | None = None) -> Path:
    """The file that `path` names: from the current directory, else from `base` or a folder above.

    `base` is the scenario file's folder; the search upwards ends at the root of its repository.
    Raises ScenarioError with the folders that were tried.
    """
    wanted = Path(path).expanduser()
    tried = [Path()] if base is None else [Path(), *_upwards(base)]
    for folder in tried:
        if (folder / wanted).is_file():
            return folder / wanted
    places = "" if wanted.is_absolute() else f" from {' or '.join(map(_named, tried))}"
    if any((folder / wanted).is_dir() for folder in tried):
        raise ScenarioError(f"workload: {path} is a folder; name a file in it")
    raise ScenarioError(f"workload: there is no file {path}{places}; mend the path")


def _upwards(base: Path) -> list[Path]:
    folders: list[Path] = []
    for folder in (base.resolve(), *base.resolve().parents):
        folders.append(folder)
        if (folder / ".git").exists():
            break
    return folders


def _named(folder: Path) -> str:
    return "the current directory" if folder == Path() else str(folder)
