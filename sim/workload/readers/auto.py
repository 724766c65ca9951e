"""Look at the first lines and take the format that knows them."""

from __future__ import annotations

from pathlib import Path

from sim import plugins
from sim.errors import ScenarioError
from sim.settings import settings
from sim.workload.text import head
from sim.workload.trace import Trace

FOLDER = "sim.workload.readers"


@settings
class Auto:
    """Detects the format of the file, whatever its name."""

    @staticmethod
    def sniff(head: str) -> bool:
        """It is no format of its own."""
        return False

    def read(self, path: Path) -> Trace:
        """The trace, read by the one reader of this folder whose `sniff` knows the file.

        Raises ScenarioError when the file is empty, or no reader or more than one knows it.
        """
        start = head(path)
        if not start:
            raise ScenarioError(f"{path} is empty; a trace has at least one request")
        known = [n for n in plugins.names(FOLDER) if n != plugins.name_of(self)]
        fits = [n for n in known if plugins.load(FOLDER, n).sniff(start)]
        if len(fits) != 1:
            problem = f"could be {' or '.join(fits)}" if fits else "is of no known format"
            raise ScenarioError(
                f"{path} {problem}: it begins with {start.splitlines()[0][:60]!r}; "
                f"name its reader or convert it to one of {', '.join(known)}"
            )
        trace: Trace = plugins.load(FOLDER, fits[0])().read(path)
        return trace
