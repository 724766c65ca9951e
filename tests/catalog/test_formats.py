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
