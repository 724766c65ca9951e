"""Number formats: exact bits, and the units they run on."""

from __future__ import annotations

import pytest

from sim.catalog.formats import FORMATS, compute_peak, format_names, load_format
from sim.catalog.gpu import gpu_names, load_gpu
from sim.errors import ScenarioError


@pytest.mark.parametrize(
    "name, element_bits, scale_bits, block",
    (
        ("mxfp8", 8, 8, 32),
        ("mxfp6", 6, 8, 32),
        ("mxfp4", 4, 8, 32),
        ("mxint8", 8, 8, 32),
        ("nvfp4", 4, 8, 16),
    ),
)
def test_a_block_format_carries_its_share_of_the_scale(
    name: str, element_bits: int, scale_bits: int, block: int
) -> None:
    assert load_format(name).bits == element_bits + scale_bits / block


@pytest.mark.parametrize(
    "name, bits",
    (
        ("mxfp8", 8.25), ("mxfp6", 6.25), ("mxfp4", 4.25), ("mxint8", 8.25), ("nvfp4", 4.5),
        ("fp8_block", 8 + 32 / 128**2), ("fp8_g128", 8.25), ("mx9", 9), ("mx6", 6), ("mx4", 4),
        ("nf4", 4.5), ("qmoe", 0.8),
    ),
)  # fmt: skip
def test_mx_1_bits_per_element_are_those_of_the_papers(name: str, bits: float) -> None:
    assert load_format(name).bits == bits


def test_mx_3_reading_weights_in_four_bits_is_at_most_1_78_or_1_88_times_as_fast_as_fp8() -> None:
    fp8 = load_format("fp8").bits
    assert fp8 / load_format("nvfp4").bits == pytest.approx(1.78, abs=0.005)
    assert fp8 / load_format("mxfp4").bits == pytest.approx(1.88, abs=0.005)


def test_double_quantised_nf4_has_an_eighth_of_a_bit_of_scales() -> None:
    """QLoRA: 0.5 bits of scales become 0.127."""
    assert load_format("nf4_double").bits == pytest.approx(4.127, abs=5e-4)


@pytest.mark.parametrize(
    "text, bits",
    (
        ("int3", 3), ("int5_g64", 5 + 16 / 64), ("int4_g128", 4.125),
        ("INT4_G128_ZP", 4 + 20 / 128),
        ("fp8_g64", 8.5), ("bits(0.8)", 0.8), ("bits( 1.58 )", 1.58), ("bits(.5)", 0.5),
        ("bdr(m=4,k1=16,d1=8,k2=2,d2=1)", 6), ("bdr(d2=1, k2=2, d1=8, k1=16, m=7)", 9),
    ),
)  # fmt: skip
def test_a_format_may_be_written_out(text: str, bits: float) -> None:
    made = load_format(text)
    assert made.bits == pytest.approx(bits, rel=1e-12)
    assert made.source
    assert made is load_format(text)


def test_the_rule_for_two_levels_gives_the_named_formats() -> None:
    for name, m in (("mx9", 7), ("mx6", 4), ("mx4", 2)):
        written = load_format(f"bdr(m={m},k1=16,d1=8,k2=2,d2=1)")
        assert written.bits == load_format(name).bits
        assert written.scales == load_format(name).scales


@pytest.mark.parametrize(
    "text, words",
    (
        ("int0", "integers have 1 to 16 bits, not 0"),
        ("int17", "integers have 1 to 16 bits, not 17"),
        ("int4_g0", "g is '0', and must be a whole number"),
        ("int4_zp", "a zero point needs a group; write for example int4_g128_zp"),
        ("bits(0)", "above 0 and at most 32"),
        ("bits(33)", "above 0 and at most 32"),
        ("bits(few)", "above 0 and at most 32"),
        ("bits(-1)", "above 0 and at most 32"),
        ("bdr(m=4)", "k1 is missing; write bdr(m=4,k1=16,d1=8,k2=2,d2=1)"),
        ("bdr(m=4,k1=16,d1=8,k2=2,d2=1", "is missing; write bdr("),
        ("bdr(m=4,k1=16,d1=8,k2=2,d2=x)", "d2 is 'x', and must be a whole number"),
        ("bdr(m=4,k1=16,d1=8,k2=3,d2=1)", "k2=3 does not divide k1=16"),
        ("bdr(m=4,m=5,k1=16,d1=8,k2=2,d2=1)", "'m=5' is not one of m, k1, d1, k2, d2, once"),
        ("bdr(e=4)", "'e=4' is not one of m, k1, d1, k2, d2"),
        ("fp5_g32", "is not known"),
        ("fp8_g32_zp", "is not known"),
        ("w4a8", "is not known"),
    ),
)
def test_a_form_with_values_that_make_no_format_is_refused_with_the_way_out(
    text: str, words: str
) -> None:
    with pytest.raises(ScenarioError) as refused:
        load_format(text)
    assert words in str(refused.value)
    assert text.replace(" ", "") in str(refused.value)
    assert "\n" not in str(refused.value)


# --- storage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, columns, stored",
    (("mxfp8", 32, 33), ("mxfp6", 32, 25), ("mxfp4", 32, 17), ("nvfp4", 16, 9), ("mx9", 16, 18)),
)
def test_a_block_takes_whole_bytes(name: str, columns: int, stored: int) -> None:
    fmt = load_format(name)
    assert fmt.block == columns
    assert fmt.storage_bytes(1, columns) == stored
    assert fmt.storage_bytes(3, 10 * columns) == 30 * stored


@pytest.mark.parametrize("name", [*FORMATS, "int5_g64", "bits(0.8)"])
def test_rows_of_whole_blocks_are_stored_in_bits_per_element(name: str) -> None:
    fmt = load_format(name)
    columns = 128 * fmt.block
    assert fmt.storage_bytes(256, columns) == pytest.approx(256 * columns * fmt.bits / 8)


def test_a_row_is_padded_to_whole_blocks() -> None:
    nvfp4 = load_format("nvfp4")
    assert nvfp4.storage_bytes(5, 17) == nvfp4.storage_bytes(5, 32) == 5 * 18
    assert load_format("fp8").storage_bytes(5, 17) == 85


def test_a_tile_at_the_edge_has_a_scale_of_its_own_but_no_padding() -> None:
    """129 × 130 weights: four tiles, so four FP32 scales."""
    assert load_format("fp8_block").storage_bytes(129, 130) == 129 * 130 + 4 * 4


# --- units -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gpu, has, has_not",
    (
        ("a100-80", ("int8", "int4", "bf16"), ("fp8", "mxfp8", "nvfp4", "mxfp6")),
        ("h100", ("fp8", "fp8_block", "mxfp8", "int8"), ("nvfp4", "mxfp4", "mxfp6", "mx9")),
        ("b200", ("nvfp4", "mxfp4", "mxfp6", "fp8"), ("int4_g128", "nf4", "qmoe", "bits(3)")),
    ),
)
def test_a_gpu_has_units_for_the_formats_of_its_generation(
    gpu: str, has: tuple[str, ...], has_not: tuple[str, ...]
) -> None:
    known = load_gpu(gpu)
    assert all(load_format(name).runs_on(known) for name in has)
    assert not any(load_format(name).runs_on(known) for name in has_not)


def test_fp4_on_gb300_is_six_times_bf16_and_on_b200_four_times() -> None:
    for name, factor in (("gb300", 6), ("b200", 4)):
        gpu = load_gpu(name)
        ratio = compute_peak(gpu, "nvfp4") / compute_peak(gpu, "bf16")
        assert ratio == pytest.approx(factor, rel=0.01)


@pytest.mark.parametrize(
    "gpu, weights, activations, computed",
    (
        ("h100", "nvfp4", None, "bf16"),
        ("h100", "fp8_block", None, "fp8"),
        ("h100", "int4_g128", None, "bf16"),
        ("h100", "int4_g128", "fp8", "fp8"),
        ("h100", "int4_g128", "int8", "int8"),
        ("h100", "nvfp4", "fp8", "fp8"),
        ("h100", "fp8", "bf16", "bf16"),
        ("a100-80", "int4", "int4", "int4"),
        ("a100-80", "int4", "int8", "int8"),
        ("a100-80", "fp8", "fp8", "bf16"),
        ("a100-80", "int4_g128", "fp8", "bf16"),
        ("b200", "mxfp4", "mxfp8", "fp8"),
        ("b200", "nvfp4", "nvfp4", "fp4"),
        ("b200", "nvfp4", "bf16", "bf16"),
        ("b200", "qmoe", "fp8", "fp8"),
        ("b200", "int8", "fp8", "bf16"),
    ),
)
def test_the_narrower_operand_is_widened_to_the_others_units(
    gpu: str, weights: str, activations: str | None, computed: str
) -> None:
    other = None if activations is None else load_format(activations)
    assert load_format(weights).computed_in(load_gpu(gpu), other) == computed


def test_plain_formats_have_the_bits_of_their_name() -> None:
    for name in ("fp32", "bf16", "fp16", "fp8", "int8", "int4", "fp4"):
        digits = int("".join(c for c in name if c.isdigit()))
        assert load_format(name).bits == digits
        assert load_format(name).bytes_per_element == digits / 8


def test_every_format_has_a_source_and_some_gpu_that_computes_in_it() -> None:
    offered = {key for name in gpu_names() for key in load_gpu(name).flops_per_s}
    for name in format_names():
        assert FORMATS[name].source
        assert FORMATS[name].compute in offered


def test_case_does_not_matter_and_a_typo_gets_a_suggestion() -> None:
    assert load_format("NVFP4") is FORMATS["nvfp4"]
    with pytest.raises(ScenarioError, match="'nvfp' is not known; did you mean 'nvfp4'"):
        load_format("nvfp")


def test_block_formats_run_on_the_units_of_their_elements() -> None:
    b200 = load_gpu("b200")
    assert compute_peak(b200, "nvfp4") == compute_peak(b200, "mxfp4") == 9000e12
    assert compute_peak(b200, load_format("mxfp8")) == 4500e12


@pytest.mark.parametrize("gpu, fmt", (("a100-80", "fp8"), ("h100", "nvfp4"), ("mi300x", "mxfp6")))
def test_a_gpu_without_units_for_a_format_is_refused_by_both_names(gpu: str, fmt: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        compute_peak(load_gpu(gpu), fmt)
    assert f"'{gpu}'" in str(refused.value)
    assert f"'{fmt}'" in str(refused.value)
    assert "it computes in" in str(refused.value)
