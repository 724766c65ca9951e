"""Matrix products: limits that hold for any figures, and what each mechanism does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.catalog.formats import load_format
from sim.catalog.gpu import load_gpu
from sim.errors import ScenarioError
from sim.perf.surfaces.gemm import Gemm

H100 = load_gpu("h100")
BF16, FP8, NVFP4 = (load_format(name) for name in ("bf16", "fp8", "nvfp4"))


def one(surface: Gemm, fmt=BF16, m=1.0, n=8192.0, k=8192.0, gpu=H100, **how) -> float:
    return float(surface.seconds(gpu, fmt, np.array([m]), n, k, **how)[0])


def test_a_large_product_reaches_the_tiles_fraction_of_the_peak() -> None:
    surface = Gemm()
    rows, columns = surface.tiles[-1]
    fraction = surface.compute / (1 + (surface.edge * (1 / rows + 1 / columns)) ** 2)
    ideal = 2 * 16384**3 / H100.flops_per_s["bf16"]
    reached = ideal / one(surface, m=16384.0, n=16384.0, k=16384.0)
    assert 0.95 * fraction < reached <= fraction


def test_few_tokens_take_the_time_to_read_the_weights() -> None:
    surface = Gemm()
    reading = 65536 * 16384 * 2 / (surface.hbm * H100.hbm_bytes_per_s)
    assert one(surface, m=1.0, n=65536.0, k=16384.0) == pytest.approx(reading, rel=0.02)


def test_a_small_product_takes_a_kernel_and_no_tokens_take_nothing() -> None:
    surface = Gemm()
    assert surface.floor_s < one(surface, n=128.0, k=128.0) < 2 * surface.floor_s
    assert surface.seconds(H100, BF16, np.array([0.0, 1.0]), 128.0, 128.0)[0] == 0.0


@pytest.mark.parametrize("fmt", [BF16, FP8], ids=lambda f: f.name)
@pytest.mark.parametrize("shape", [(1024.0, 8192.0), (28672.0, 4096.0), (128.0, 65536.0)])
def test_more_tokens_never_take_less(fmt, shape) -> None:
    seconds = Gemm().seconds(H100, fmt, np.arange(5000.0), *shape)
    assert (np.diff(seconds) >= 0).all()


def test_one_tile_more_than_there_are_sms_costs_a_wave_unless_work_is_streamed() -> None:
    whole = Gemm(tiles=((128, 128),), splits=(1,), stream=0.0, hbm=1e3, floor_s=0.0, load=1e6)
    full = one(whole, m=128.0, n=128.0 * H100.sm_count)
    over = one(whole, m=128.0, n=128.0 * (H100.sm_count + 1))
    assert over == pytest.approx(2 * full, rel=1e-3)
    streamed = replace(whole, stream=1.0)
    share = 1 + 1 / H100.sm_count
    more = one(streamed, m=128.0, n=128.0 * (H100.sm_count + 1))
    assert more == pytest.approx(share * full, rel=1e-3)


def test_a_deep_and_narrow_product_is_split_over_idle_sms() -> None:
    assert one(Gemm(), m=64.0, n=128.0, k=65536.0) < 0.5 * one(
        Gemm(splits=(1,)), m=64.0, n=128.0, k=65536.0
    )


def test_weights_of_half_the_bits_are_read_in_half_the_time() -> None:
    free = Gemm(quant_s=0.0, quant_hbm=1e9, quant_row_s=0.0, quant_chunk_s=0.0, quant_depth_s=0.0)
    shape = {"m": 1.0, "n": 65536.0, "k": 16384.0}
    b200 = load_gpu("b200")
    bf16, nvfp4 = (one(free, fmt, gpu=b200, **shape) for fmt in (BF16, NVFP4))
    assert nvfp4 / bf16 == pytest.approx(NVFP4.bits / BF16.bits, rel=0.05)


def test_quantising_activations_is_a_term_of_its_own_and_16_bit_needs_none() -> None:
    dear = Gemm(quant_s=Gemm().quant_s + 5e-6)
    assert one(dear, FP8, m=64.0) - one(Gemm(), FP8, m=64.0) == pytest.approx(5e-6)
    assert one(dear, BF16, m=64.0) == one(Gemm(), BF16, m=64.0)


def test_quantising_many_rows_costs_by_the_chunks_of_a_row() -> None:
    rows = Gemm(quant_row_s=0.0, quant_chunk_s=1e-6, floor_s=0.0)
    none = replace(rows, quant_chunk_s=0.0, quant_hbm=1e9)
    for depth, chunks in ((2048.0, 1), (2049.0, 2), (6144.0, 3)):
        extra = one(rows, FP8, m=13200.0, n=128.0, k=depth) - one(
            none, FP8, m=13200.0, n=128.0, k=depth
        )
        assert extra == pytest.approx(chunks * 1e-6 * 13200 / H100.sm_count, rel=0.01)


def test_what_a_cache_cannot_keep_is_read_again() -> None:
    roomy = replace(H100, l2_bytes=1e12)
    shape = {"m": 16384.0, "n": 65536.0, "k": 16384.0}
    bare = Gemm(compute=1e3, edge=0.0, depth_s=0.0, load=1e6, store=1e6)
    once = (65536 * 16384 + 16384 * 16384 + 65536 * 16384) * 2
    read = one(bare, gpu=roomy, **shape)
    assert read == pytest.approx(once / (bare.hbm * H100.hbm_bytes_per_s), rel=0.01)
    assert one(bare, **shape) > 3 * read


def test_launches_hide_small_products_and_can_be_left_out() -> None:
    hosted = Gemm(launch_s=((16.0, 60e-6), (64.0, 90e-6)))
    assert [one(hosted, m=m, n=1024.0) for m in (1.0, 16.0, 17.0, 900.0)] == [
        60e-6, 60e-6, 90e-6, 90e-6,
    ]  # fmt: skip
    assert one(hosted, m=8192.0) == one(Gemm(), m=8192.0)
    assert one(hosted, launches=False) == one(Gemm())


def test_the_correction_is_bilinear_inside_its_grid_and_held_outside() -> None:
    ones = ((1.0, 1.0), (1.0, 1.0))
    grid = Gemm(
        grid_tokens=(1.0, 101.0), grid_width=(1000.0, 3000.0), grid_depth=(1.0, 2.0),
        by_width=((1.0, 2.0), (1.0, 4.0)), by_depth=ones,
    )  # fmt: skip

    def factor(m: float, n: float) -> float:
        return one(grid, m=m, n=n) / one(Gemm(), m=m, n=n)

    assert factor(1.0, 2000.0) == pytest.approx(1.5)
    assert factor(51.0, 2000.0) == pytest.approx(2.0)
    assert factor(5000.0, 60000.0) == pytest.approx(4.0)
    assert factor(1.0, 128.0) == pytest.approx(1.0)


def test_tiles_may_be_offered_for_a_range_of_tokens() -> None:
    banded = Gemm(tiles=((64, 64, 0, 64), (128, 256, 64, 1e12)), splits=(1,))
    small, large = (replace(banded, tiles=(tile[:2],)) for tile in banded.tiles)
    assert one(banded, m=64.0, n=512.0) == one(small, m=64.0, n=512.0)
    assert one(banded, m=65.0, n=512.0) == one(large, m=65.0, n=512.0)


def test_shapes_broadcast_and_a_row_costs_what_it_costs_alone() -> None:
    m, n = np.array([1.0, 300.0]), np.array([4096.0, 7168.0])
    both = Gemm().seconds(H100, BF16, m[:, None], n[None, :], 5120.0)
    assert both.shape == (2, 2)
    assert both[1, 0] == one(Gemm(), m=300.0, n=4096.0, k=5120.0)


def test_a_gpu_without_units_for_the_format_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"h100.*nvfp4"):
        one(Gemm(), NVFP4)
