"""Latent attention: limits of the rooflines, tiles of heads, and the shape of the price."""

from __future__ import annotations

import numpy as np
import pytest

from sim.catalog.gpu import load_gpu
from sim.perf.surfaces.latent_block import LatentBlock
from sim.perf.surfaces.latent_decode import LatentDecode
from sim.perf.surfaces.latent_prefill import LatentPrefill

H100 = load_gpu("h100")


def test_few_heads_read_the_latent_once_at_the_bandwidth() -> None:
    """16 heads: 576 numbers of 2 bytes a key, whatever the heads do with them."""
    _, _, key = LatentDecode(memory=0.9).coefficients(H100, 16, 1024)
    assert key == pytest.approx(576 * 2 / (3.35e12 * 0.9), rel=0.01)


def test_128_heads_on_hopper_are_bound_by_operations_on_an_fp8_cache() -> None:
    _, _, key = LatentDecode(compute=0.7).coefficients(H100, 128, 1024, kv_bits=8)
    assert key == pytest.approx(2 * 128 * (576 + 512) / (989e12 * 0.7), rel=0.01)
    assert 576 / key < 0.6 * H100.hbm_bytes_per_s


def test_a_started_tile_of_heads_costs_a_whole_one() -> None:
    surface = LatentDecode(memory=1.0, compute=0.3)
    keys = [float(surface.coefficients(H100, h, 1024, kv_bits=8)[2]) for h in (33, 64, 65, 128)]
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[3] == pytest.approx(2 * keys[0], rel=0.01)


def test_one_sequence_cannot_use_the_whole_gpu() -> None:
    _, _, key = LatentDecode(sole=3.0).coefficients(H100, 16, np.array([1, 64]))
    assert key[0] / key[1] == pytest.approx(np.sqrt(10), rel=0.01)


def test_fixed_splits_of_a_context_run_in_whole_waves() -> None:
    """vLLM's Triton kernel on Ampere: 4 parts a sequence and 16 heads, 108 SMs."""
    a100 = load_gpu("a100-80")
    surface = LatentDecode(splits=4, tile=16, narrow_tile=16, narrow=0.05, compute=0.05)
    _, _, key = surface.coefficients(a100, 16, np.array([1, 27, 28, 54]))
    per_step = key * np.array([1, 27, 28, 54])
    assert per_step[1] == pytest.approx(per_step[0])
    assert per_step[2] == pytest.approx(2 * per_step[0])
    assert per_step[3] == pytest.approx(2 * per_step[0])


def test_decode_never_gets_quicker_with_sequences_or_context() -> None:
    surface = LatentDecode()
    n = np.arange(1, 2049)
    for context in (1, 512, 16384):
        assert (np.diff(surface.seconds(H100, 64, n, n * context)) > -1e-15).all()
    assert (np.diff(surface.seconds(H100, 64, 32, np.arange(0, 10**6, 1000))) >= 0).all()


def test_host_launches_are_in_no_coefficient() -> None:
    """A served model replays CUDA graphs."""
    for surface, slow in (
        (LatentDecode(), LatentDecode(host_s=1.0)),
        (LatentPrefill(), LatentPrefill(host_s=1.0)),
    ):
        for a, b in zip(
            surface.coefficients(H100, 16, np.arange(1, 9)),
            slow.coefficients(H100, 16, np.arange(1, 9)),
            strict=True,
        ):
            assert (a == b) if np.isscalar(a) else np.array_equal(a, b)


def test_a_long_prompt_tends_to_the_reached_fraction_of_the_peak() -> None:
    surface, s = LatentPrefill(compute=0.6), 10.0**6
    flops = s * s / 2 * 128 * 2 * (192 + 128)
    seconds = surface.seconds(H100, 128, s, 1, s * (s + 1) / 2, s)
    assert flops / seconds == pytest.approx(0.6 * 989e12, rel=0.02)


def test_one_head_waits_for_the_longest_walk_over_keys() -> None:
    """Blocks enough for all queries, each walking its keys tile by tile: linear in the length."""
    surface = LatentPrefill(serial_s=30e-9)
    s = np.array([8192.0, 16384.0])
    price = surface.seconds(H100, 1, s, 1, s * (s + 1) / 2, s)
    assert price[1] / price[0] == pytest.approx(2, rel=0.15)


def test_keys_of_earlier_chunks_are_rebuilt() -> None:
    """kv_b of 512 by heads·256 for every cached key, and its result moved."""
    surface, cached = LatentPrefill(rebuild=1.0, memory=1.0), 65536
    first = surface.seconds(H100, 128, 2048, 1, 2048 * 1000.0, 2048)
    later = surface.seconds(H100, 128, 2048, 1, 2048 * 1000.0, 2048 + cached)
    work = 2 * 512 * 128 * 256 / 989e12 + 2 * 2 * 128 * 256 / 3.35e12
    assert later - first == pytest.approx(cached * work)


def test_a_step_is_priced_from_its_coefficients_to_the_last_bit() -> None:
    surface = LatentPrefill()
    floor, base, pair, key, cached, chunk = surface.coefficients(H100, 16, np.arange(1, 5000))
    p, chunks, pairs, keys = 4096, 3, 9_000_000, 20_000
    work = pairs * float(pair[p - 1]) + (keys - p) * float(cached)
    price = max(floor, float(base[p - 1]) + chunks * float(chunk) + max(work, keys * key))
    assert price == float(surface.seconds(H100, 16, p, chunks, pairs, keys))


def test_projections_of_one_token_read_their_weights() -> None:
    """DeepSeek-V3, 128 heads: 187 million weights, those of kv_b in 16 bit when absorbed."""
    surface = LatentBlock(memory=1.0, start_s=0.0)
    rest = 7168 * (1536 + 576) + 1536 * 128 * 192 + 128 * 128 * 7168
    kv_b = 512 * 128 * 256
    for fmt, size in (("bf16", 2.0), ("fp8", 1.0)):
        seconds = surface.seconds(H100, 128, 1, weights=fmt, decode=True)
        assert seconds == pytest.approx((rest * size + kv_b * 2.0) / 3.35e12, rel=0.02)


def test_projections_of_many_tokens_tend_to_their_fraction_of_the_peak() -> None:
    surface = LatentBlock(compute=0.7, touches=0.0, head_touches=0.0, start_s=0.0)
    p = 16384
    flops = 2.0 * p * 187_105_280
    assert flops / surface.seconds(H100, 128, p) == pytest.approx(0.7 * 989e12, rel=0.02)


def test_queries_without_compression_are_projected_from_the_hidden_size() -> None:
    surface = LatentBlock(memory=1.0, start_s=0.0)
    seconds = surface.seconds(H100, 16, 1, hidden=2048, q_lora=0, decode=True)
    weights = 2048 * 576 + 2048 * 16 * 192 + 16 * 128 * 2048 + 512 * 16 * 256
    assert seconds == pytest.approx(weights * 2.0 / 3.35e12, rel=0.02)
