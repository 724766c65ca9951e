"""Prefix blocks in the terms of sequences: what a prompt finds in the cache, and leaves there.

A prompt's block ids name runs of tokens; the last one may be partial, and stands for its full KV
blocks alone. Windows are kept by running sequences only, so a prefix block holds units of the first
KV group.
"""

from __future__ import annotations

from sim.engine.limits import RankLimits
from sim.engine.sequence import Sequence
from sim.kvcache.cache import KvCache
from sim.workload.request import Ask


class Prefixes:
    """The prefix blocks of one rank."""

    __slots__ = ("_block", "_cache", "_on", "_units")

    def __init__(self, cache: KvCache, limits: RankLimits, units: int) -> None:
        self._cache = cache
        self._block = limits.block_tokens
        self._on = limits.prefix_caching
        self._units = units
        """Units of one full KV block."""

    def match(self, ask: Ask) -> list[object]:
        """The prompt's leading blocks that are in the cache."""
        if not self._on or not ask.block_ids:
            return []
        ids = ask.block_ids[: self._count(ask)]
        return list(ids[: self._cache.match(ids)])

    @staticmethod
    def _count(ask: Ask) -> int:
        """Blocks of the prompt (ids behind them would name the answer's)."""
        return -(-ask.prompt_tokens // ask.block_tokens)

    def saved_tokens(self, ask: Ask, hits: int, target: int) -> int:
        """Tokens of a `target`-token prefill that `hits` leading blocks save. At least one token is
        always computed: its logits are wanted."""
        if not hits:
            return 0
        reach = min(hits * ask.block_tokens, ask.prompt_tokens)
        return min(reach // self._block, (target - 1) // self._block) * self._block

    def publish(self, sequence: Sequence, computed: int) -> None:
        """Offer the blocks that `computed` tokens complete to others."""
        ask = sequence.ask
        if not self._on:
            return
        size, count = ask.block_tokens, self._count(ask)
        while True:
            index = sequence.key_tokens // size
            end = min((index + 1) * size, ask.prompt_tokens)
            if index >= min(count, len(ask.block_ids)) or end > computed:
                return
            units = (end - index * size) // self._block * self._units
            sequence.key_tokens += size
            if units and self._cache.publish(ask.block_ids[index], units):
                sequence.keys.append(ask.block_ids[index])
                sequence.units -= units
