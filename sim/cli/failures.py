"""What a user sees when something goes wrong: one sentence on stderr, and an exit code."""

from __future__ import annotations

import os
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from sim.errors import BrokenInvariant, ScenarioError

MISTAKE = 2
"""The user wrote something that cannot be simulated."""
INTERNAL = 70
"""The simulator contradicted itself."""
INTERRUPTED = 130
"""Ctrl-C."""


class Sentences(TyperGroup):
    """A group of commands whose failures are told in a sentence."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ScenarioError as error:
            raise typer.Exit(tell(error, MISTAKE)) from None
        except BrokenInvariant as error:
            raise typer.Exit(tell(error, INTERNAL)) from None
        except KeyboardInterrupt as error:
            raise typer.Exit(tell(error, INTERRUPTED)) from None


def tell(error: BaseException, code: int) -> int:
    """Print the sentence, with the traceback before it if `SIM_DEBUG` is set; returns `code`."""
    if os.environ.get("SIM_DEBUG"):
        traceback.print_exception(error)
    typer.echo(f"error: {sentence(error)}", err=True)
    return code


def sentence(error: BaseException) -> str:
    """What went wrong and what to do about it."""
    if isinstance(error, ScenarioError):
        return " ".join(str(error).split())
    notes = getattr(error, "__notes__", [])
    if isinstance(error, KeyboardInterrupt):
        kept = f"`sim report {notes[0]}` measures what was played" if notes else "nothing was kept"
        return f"stopped by Ctrl-C; {kept}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"'{error.filename}' cannot be used ({error.strerror}); check the path and the disk"
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({error}); ask for fewer requests"
    what = f"the run folder {notes[0]}" if notes else "the command and its scenario"
    if isinstance(error, BrokenInvariant):
        return f"the simulator contradicts itself, a bug: {error}; please report it with {what}"
    return (
        f"the simulator failed, a bug: {type(error).__name__}: {error}; please report it with "
        f"{what}; SIM_DEBUG=1 shows where"
    )
