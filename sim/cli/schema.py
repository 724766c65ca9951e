"""`sim schema`: the scenario's JSON Schema."""

from __future__ import annotations

from sim.cli.output import print_json


def schema() -> None:
    """Print the JSON Schema of a scenario, for editors that complete and check YAML.

    [bold]Example[/bold]

      sim schema > scenario.schema.json
    """
    from sim.scenario.json_schema import json_schema

    print_json(json_schema())
