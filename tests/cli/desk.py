"""Commands as a user types them, in a folder of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from sim.cli import make_app


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """An empty folder with a small scenario in it."""

    folder: Path
    file: Path

    def sim(self, *words: object) -> Said:
        """Type `sim …`. A traceback that would reach the user is a failure of the test."""
        result = CliRunner().invoke(make_app(), [str(w) for w in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def mistake(self, *words: object) -> str:
        """Type something wrong: the one sentence on stderr, with exit code 2."""
        said = self.sim(*words)
        assert said.code == 2, said
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert "Traceback" not in said.err
        return said.err.removeprefix("error: ").rstrip("\n")

    def write(self, **changes: Any) -> Path:
        """The scenario with top-level settings changed, in the same file."""
        tree = scenario() | changes
        self.file.write_text(yaml.safe_dump({k: v for k, v in tree.items() if v is not None}))
        return self.file


def scenario() -> dict[str, Any]:
    """Twelve short requests, one GPU."""
    return {
        "name": "small",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 20}},
            "requests": 12,
            "prompt_tokens": {"uniform": {"min_tokens": 20, "max_tokens": 300}},
            "output_tokens": {"uniform": {"min_tokens": 2, "max_tokens": 40}},
        },
        "model": "llama-3.1-8b",
        "topology": {"name": "dgx_h100", "nodes": 1},
        "pools": {"serve": {"engines": 1, "engine": {"max_num_seqs": 8}}},
        "deployment": {"aggregated": {"router": "least_loaded"}},
    }
