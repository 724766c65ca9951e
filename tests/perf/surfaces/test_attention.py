"""Attention kernels: the limits that theory sets, and what must grow with what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim.catalog.gpu import load_gpu
from sim.perf.surfaces.decode_attention import DecodeAttention, nearest_variant
from sim.perf.surfaces.prefill_attention import PrefillAttention

H100 = load_gpu("h100")
LLAMA: dict[str, Any] = {"q_heads": 32.0, "kv_heads": 8.0, "head_dim": 128.0, "kv_bytes": 2.0}


def prompts(surface: PrefillAttention, batch: float, length: float, window: float = 0.0) -> float:
    inside = min(length, window) if window else length
    pairs = inside * (inside + 1) / 2 + (length - inside) * inside
    return float(
        surface.seconds(
            H100,
            **LLAMA,
            tokens=batch * length,
            chunks=batch,
            pairs=batch * pairs,
            keys=batch * length,
            window=window,
        )
    )


def test_long_prompts_reach_the_stated_fraction_of_the_matrix_peak() -> None:
    length = 2.0**20
    flops = 4 * 32 * 128 * length * (length + 1) / 2
    reached = flops / prompts(PrefillAttention(tensor=0.6), 1, length)
    assert reached == pytest.approx(0.6 * H100.flops_per_s["bf16"], rel=0.01)


def test_a_prompt_of_one_token_takes_little_more_than_its_launches() -> None:
    surface = PrefillAttention()
    assert surface.launch_s < prompts(surface, 1, 1) < 1.1 * surface.launch_s


def test_few_thread_blocks_leave_multiprocessors_idle() -> None:
    """The same pairs cost more in a short chunk of few heads, up to where the keys are split over
    the idle ones."""
    short, long = PrefillAttention().coefficients(
        H100, q_heads=8.0, kv_heads=1, head_dim=128, kv_bytes=2, tokens=np.array([128.0, 65536.0])
    )[1]
    assert 2.0 * long < short <= 3.0 * long


def test_prefill_takes_longer_with_every_token() -> None:
    surface = PrefillAttention()
    seconds = [prompts(surface, 1, n) for n in range(1, 3000, 7)]
    assert (np.diff(seconds) > 0).all()


def test_a_window_makes_long_prompts_linear_in_their_length() -> None:
    surface = PrefillAttention()
    double = prompts(surface, 1, 65536, 128) - prompts(surface, 1, 32768, 128)
    assert double == pytest.approx(prompts(surface, 1, 32768, 128) - surface.launch_s, rel=0.02)
    assert prompts(surface, 1, 32768, 128) < 0.1 * prompts(surface, 1, 32768)


def test_a_window_that_no_prompt_reaches_costs_nothing() -> None:
    assert prompts(PrefillAttention(), 4, 100, 128) == prompts(PrefillAttention(), 4, 100)


def test_prompts_of_a_batch_are_priced_as_the_sum_that_the_engine_counts() -> None:
    surface = PrefillAttention()
    base_s, pair_s, key_s, chunk_s, beyond_s = surface.coefficients(
        H100, **LLAMA, tokens=np.arange(4097)
    )
    pairs, keys = 4 * 1024 * 1025 / 2, 4096
    by_hand = base_s[4096] + 4 * chunk_s + max(pairs * pair_s[4096], keys * key_s)
    assert by_hand == prompts(surface, 4, 1024)
    assert float(beyond_s[4096]) == 0.0


def test_a_chunk_behind_a_long_prefix_waits_for_the_keys_to_be_read() -> None:
    """One new token cannot be faster than memory delivers a million keys."""
    keys = 1e6
    seconds = PrefillAttention().seconds(
        H100, **LLAMA, tokens=1.0, chunks=1.0, pairs=keys, keys=keys
    )
    assert seconds > keys * 2 * 8 * 128 * 2 / H100.hbm_bytes_per_s


def decode(surface: DecodeAttention, batch: float, context: float, **changes: float) -> float:
    return float(surface.seconds(H100, **(LLAMA | changes), batch=batch, context=batch * context))


def test_long_contexts_are_read_at_the_stated_fraction_of_bandwidth() -> None:
    surface = DecodeAttention(bandwidth=(0.9,))
    keys = 64 * 1e6
    read = keys * 2 * 8 * 128 * 2 / decode(surface, 64, 1e6)
    assert read == pytest.approx(0.9 * H100.hbm_bytes_per_s, rel=0.01)


def test_an_fp8_cache_halves_the_time_of_long_contexts() -> None:
    surface = DecodeAttention()
    ratio = decode(surface, 64, 1e6, kv_bytes=1.0) / decode(surface, 64, 1e6)
    assert ratio == pytest.approx(0.5, rel=0.01)


def test_query_heads_of_a_group_share_the_reading_of_a_key() -> None:
    surface = DecodeAttention()
    few, many = (decode(surface, 32, 1e5, q_heads=q) for q in (8.0, 64.0))
    assert many == pytest.approx(few, rel=0.01)


def test_decode_never_gets_faster_with_context_or_sequences() -> None:
    surface = DecodeAttention()
    by_context = [decode(surface, 16, c) for c in range(1, 20000, 97)]
    by_batch = [decode(surface, n, 2000) for n in range(1, 257)]
    assert (np.diff(by_context) >= 0).all()
    assert (np.diff(by_batch) >= 0).all()


def test_one_sequence_without_splits_is_read_by_one_thread_block() -> None:
    """Time per key does not fall with more bandwidth, but with more sequences."""
    surface = DecodeAttention(serial_s=(23e-9,))
    assert decode(surface, 1, 1e5) == pytest.approx(1e5 * 23e-9, rel=0.02)
    assert decode(surface, 4, 1e5) == pytest.approx(decode(surface, 1, 1e5), rel=0.02)


def test_every_class_of_query_groups_has_its_kernel() -> None:
    surface = DecodeAttention(groups=(1.0, 8.0), launch_s=(1e-5, 2e-5), bandwidth=(0.4, 0.8))
    own, shared, beyond = (decode(surface, 64, 1e6, q_heads=8.0 * g) for g in (1, 8, 64))
    assert own == pytest.approx(2 * shared, rel=0.01)
    assert beyond == pytest.approx(shared, rel=0.01)


def test_lines_of_the_engine_and_rows_of_a_table_agree() -> None:
    surface = DecodeAttention()
    n, context = 7, 7 * 900
    floor_s, near_s, near_key_s, far_s, far_key_s = (
        line[n] for line in surface.coefficients(H100, **LLAMA, batch=np.arange(9))
    )
    by_hand = max(floor_s, min(near_s + context * near_key_s, far_s + context * far_key_s))
    assert by_hand == decode(surface, 7, 900)


def test_a_full_window_costs_what_lines_of_windowed_layers_say() -> None:
    surface = DecodeAttention(window_s=(2e-6,), outside_s=(1e-9,))
    row = surface.seconds(H100, **LLAMA, batch=8, context=8 * 128, outside=8 * 1e6)
    lines = surface.coefficients(H100, **LLAMA, batch=8, windowed=True)
    plain = surface.coefficients(H100, **LLAMA, batch=8)
    assert row == max(lines[0], min(lines[1] + 1024 * lines[2], lines[3] + 1024 * lines[4]))
    assert float(lines[0] - plain[0]) == pytest.approx(64 * 2e-6 / H100.sm_count)


def test_an_unmeasured_format_takes_the_figures_of_the_nearest() -> None:
    measured = ("bf16/bf16/128", "bf16/fp8/128", "bf16/fp8/64", "fp8/fp8/128")
    assert nearest_variant(measured, "bf16", "fp8", 64) == "bf16/fp8/64"
    assert nearest_variant(measured, "fp8", "nvfp4", 128) == "fp8/fp8/128"
    assert nearest_variant(measured, "bf16", "bf16", 256) == "bf16/bf16/128"
    assert nearest_variant((), "bf16", "bf16", 128) is None
