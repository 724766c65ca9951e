"""Prefix blocks in the terms of sequences: what a prompt finds in the cache, and leaves there.

A prompt's block ids name runs of tokens; the last one may be partial, and stands for its full KV
blocks alone. Ids behind the prompt name the answer's blocks; those that are full at the end of the
sequence stay for the next turn of its session. Windows are kept by running sequences only, so a
prefix block holds units of the first KV group.
"""

from __future__ import annotations

from sim.engine.limits import RankLimits
from sim.engine.sequence import Sequence
from sim.kvcache.cache import KvCache
from sim.workload.request import Ask

_SILENT = 1 << 60
"""`key_tokens` of a sequence that has no block left to offer."""


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
        """Offer the blocks of the prompt that `computed` tokens complete to others. A block in
        which the answer begins is not complete before the end."""
        ask = sequence.ask
        size, named = ask.block_tokens, len(ask.block_ids)
        count = min(named, self._count(ask))
        if named > count:
            count = ask.prompt_tokens // size
        self._offer(sequence, count, ask.prompt_tokens, computed)

    def publish_answer(self, sequence: Sequence) -> None:
        """The sequence ends: offer the full blocks behind its prompt's, as far as they are named
        and those of its prompt were offered here."""
        ask, size = sequence.ask, sequence.ask.block_tokens
        if sequence.key_tokens >= ask.prompt_tokens // size * size:
            full = min(len(ask.block_ids), sequence.computed // size)
            self._offer(sequence, full, full * size, sequence.computed)

    def silence(self, sequence: Sequence) -> None:
        """The sequence offers no block any more: its KV is not what others would have computed."""
        sequence.key_tokens = _SILENT

    def _offer(self, sequence: Sequence, count: int, named: int, computed: int) -> None:
        """Offer the first `count` blocks, which name `named` tokens (the last may be partial), as
        far as `computed` tokens complete them."""
        ids, size = sequence.ask.block_ids, sequence.ask.block_tokens
        while self._on:
            index = sequence.key_tokens // size
            end = min((index + 1) * size, named)
            if index >= count or end > computed:
                return
            units = (end - index * size) // self._block * self._units
            if not units:  # less than a KV block of it: the answer may fill it
                return
            sequence.key_tokens += size
            if self._cache.publish(ids[index], units):
                sequence.keys.append(ids[index])
                sequence.units -= units
