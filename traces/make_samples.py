"""Makes the sample traces of this folder: `python -m traces.make_samples` in the root.

Lengths follow the tables of quantiles below, rounded from the original traces (for Mooncake's
prompts: chosen so that whole conversations come near them). Nothing else of the originals is in the
samples; arrivals and conversations are this script's own.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.rng import Draws

SEED = 20_231_116
HERE = Path(__file__).parent

LEVELS = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
AZURE_PROMPTS = (2, 29, 207, 396, 1_020, 1_189, 2_735, 4_142, 14_050)
AZURE_OUTPUTS = (7, 16, 54, 85, 129, 395, 424, 601, 1_000)
MOONCAKE_FIRST_PROMPTS = (900, 990, 1_700, 2_700, 6_500, 14_500, 26_000, 68_000, 105_000)
MOONCAKE_OUTPUTS = (1, 3, 24, 157, 350, 472, 597, 1_119, 2_000)

BLOCK_TOKENS = 512
SYSTEM_BLOCKS = 1
"""Blocks that every conversation begins with."""
MORE_TURNS = 0.5
"""Probability that a conversation goes on after an answer."""
QUESTION_MEAN_TOKENS = 1_200.0
TURN_GAP_MEAN_S = 22.0
RECORDED_EVERY_MS = 3_000
"""The original's time stamps come in batches about this far apart."""


def lengths(draws: Draws, n: int, values: tuple[int, ...]) -> NDArray[np.int64]:
    """(n,) tokens by the inverse of a law given by quantiles, log-linear between them."""
    logs = np.interp(draws.uniform(np.arange(n)), LEVELS, np.log(values))
    return np.rint(np.exp(logs)).astype(np.int64)


def azure(n: int = 600, rate_per_s: float = 8.5, cv: float = 2.0) -> str:
    """A chat service with bursts, as CSV in Azure's format."""
    gaps = Draws(SEED, "azure.gaps").generator().gamma(cv**-2, cv**2 / rate_per_s, size=n)
    ticks = np.rint(np.cumsum(gaps) * 1e7).astype(np.int64).tolist()
    prompts = lengths(Draws(SEED, "azure.prompts"), n, AZURE_PROMPTS).tolist()
    outputs = lengths(Draws(SEED, "azure.outputs"), n, AZURE_OUTPUTS).tolist()
    start = datetime.datetime(2023, 11, 16, 18, 0, 0)
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for tick, prompt, output in zip(ticks, prompts, outputs, strict=True):
        second = start + datetime.timedelta(seconds=tick // 10_000_000)
        lines.append(f"{second}.{tick % 10_000_000:07d},{prompt},{output}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a conversation."""

    at_ms: int
    conversation: int
    turn: int
    prompt_tokens: int
    output_tokens: int


def conversation(number: int, start_s: float, first_prompt: int) -> list[Turn]:
    """A conversation's turns: each prompt is the last one, its answer, and a new question."""
    draws = Draws(SEED, "mooncake.turns")
    at_s, prompt, turns = start_s, first_prompt, []
    for turn in range(64):
        answer = lengths(Draws(SEED, f"mooncake.answers/{number}/{turn}"), 1, MOONCAKE_OUTPUTS)
        at_ms = int(at_s * 1e3) // RECORDED_EVERY_MS * RECORDED_EVERY_MS
        turns.append(Turn(at_ms, number, turn, prompt, int(answer[0])))
        if float(draws.uniform(number, turn)) > MORE_TURNS:
            break
        gap, question = draws.exponential(number, [1000 + turn, 2000 + turn]).tolist()
        at_s += TURN_GAP_MEAN_S * (0.5 + 0.5 * gap)
        prompt += int(answer[0]) + 1 + round(QUESTION_MEAN_TOKENS * question)
    return turns


def mooncake(n: int = 400, conversations_per_s: float = 2.1) -> str:
    """A chat service of long prompts and conversations, as JSON lines in Mooncake's format."""
    starts = np.cumsum(Draws(SEED, "mooncake.starts").exponential(np.arange(n)))
    starts = (starts / conversations_per_s).tolist()
    firsts = lengths(Draws(SEED, "mooncake.prompts"), n, MOONCAKE_FIRST_PROMPTS).tolist()
    turns = [
        turn
        for number, (start, first) in enumerate(zip(starts, firsts, strict=True))
        for turn in conversation(number, start, first)
    ]
    turns.sort(key=lambda t: (t.at_ms, t.conversation, t.turn))
    return "".join(json.dumps(row) + "\n" for row in with_block_ids(turns[:n]))


def with_block_ids(turns: list[Turn]) -> list[dict[str, object]]:
    """The rows of the file: a turn keeps the ids of the full blocks of the turn before it."""
    next_id, system, known = SYSTEM_BLOCKS, list(range(SYSTEM_BLOCKS)), dict[int, list[int]]()
    rows: list[dict[str, object]] = []
    for turn in turns:
        blocks = -(-turn.prompt_tokens // BLOCK_TOKENS)
        ids = [*known.get(turn.conversation, system)]
        fresh = blocks - len(ids)
        ids += range(next_id, next_id + fresh)
        next_id += fresh
        known[turn.conversation] = ids[: turn.prompt_tokens // BLOCK_TOKENS]
        rows.append(
            {
                "timestamp": turn.at_ms,
                "input_length": turn.prompt_tokens,
                "output_length": turn.output_tokens,
                "hash_ids": ids,
            }
        )
    return rows


if __name__ == "__main__":
    (HERE / "sample_azure.csv").write_text(azure(), encoding="utf-8", newline="\n")
    (HERE / "sample_mooncake.jsonl").write_text(mooncake(), encoding="utf-8", newline="\n")
