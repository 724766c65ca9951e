"""How a name in a scenario becomes a file: the catalog's own, or one of the user's by its path."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sim.errors import ScenarioError, suggest

CATALOG = Path(__file__).parent


@cache
def names(folder: str, suffix: str) -> tuple[str, ...]:
    """The entries of a catalog folder (`gpus`, `models`), sorted: its file names, bare."""
    return tuple(sorted(f.stem for f in (CATALOG / folder).glob(f"*{suffix}")))


def canonical(name: str) -> str:
    """The catalog's spelling of a name: lower case, `-` between parts (`A100_80` → `a100-80`)."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def find(kind: str, name_or_path: str, folder: str, suffix: str) -> Path:
    """The file that `name_or_path` means: a catalog entry first, else an existing path.

    Raises ScenarioError, with a suggestion, when it is neither; `kind` is the word for the message.
    """
    known = names(folder, suffix)
    if canonical(name_or_path) in known:
        return CATALOG / folder / f"{canonical(name_or_path)}{suffix}"
    path = Path(name_or_path).expanduser()
    if name_or_path.strip() and path.exists():
        return path
    near = suggest(canonical(path.name.removesuffix(suffix)), known)
    raise ScenarioError(
        f"{kind} '{name_or_path}' is neither a name in the catalog nor an existing file{near}"
    )


def read(path: Path) -> str:
    """The text of `path`; ScenarioError, naming the file, when it cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise ScenarioError(f"{path} cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise ScenarioError(f"{path} is not text in UTF-8: {problem.reason}") from problem
