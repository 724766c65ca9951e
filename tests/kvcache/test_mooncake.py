"""The published prefix statistics of a real trace come out of the cache."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from sim.kvcache.cache import KvCache
from sim.kvcache.evictions.lru import Lru

TRACE = Path(__file__).parents[3] / "shared/data/traces/mooncake_fast25_conversation.jsonl.gz"
BLOCK = 512

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not TRACE.exists(), reason=f"the recorded trace {TRACE} is not here"),
]


def rows() -> list[tuple[int, list[int]]]:
    """(prompt tokens, block ids) of every request."""
    with gzip.open(TRACE, "rt") as lines:
        records = [json.loads(line) for line in lines]
    return [(r["input_length"], r["hash_ids"]) for r in records]


def test_unlimited_cache_hits_the_published_share_of_the_conversation_trace() -> None:
    """Mooncake (FAST '25) publishes 36.6 % of blocks for its conversation trace with unlimited
    capacity. The test counts them itself, with a set, and the tokens too (the last block of a
    prompt is partial, and one token of every prompt is always computed)."""
    asks = rows()
    cache = KvCache(1 << 60, Lru().start())
    blocks = hit_blocks = tokens = hit_tokens = 0
    seen: set[int] = set()
    own_blocks = own_tokens = 0
    for prompt, ids in asks:
        hits = cache.match(ids)
        cache.acquire(ids[:hits])
        for key in ids[hits:]:
            assert cache.take(1)
            cache.publish(key, 1)
        cache.release(ids[:hits])
        blocks += len(ids)
        tokens += prompt
        hit_blocks += hits
        hit_tokens += min(hits * BLOCK, prompt - 1)

        leading = next((i for i, key in enumerate(ids) if key not in seen), len(ids))
        seen.update(ids)
        own_blocks += leading
        own_tokens += sum(min(BLOCK, prompt - i * BLOCK) for i in range(leading)) - (
            leading * BLOCK >= prompt
        )
    print(f"\nblocks {hit_blocks / blocks:.4f}, tokens {hit_tokens / tokens:.4f}")
    assert hit_blocks == own_blocks
    assert hit_tokens == own_tokens
    assert hit_blocks / blocks == pytest.approx(0.366, abs=0.0005)
    assert 0.30 < hit_tokens / tokens < 0.45
