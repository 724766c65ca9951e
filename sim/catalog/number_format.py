"""What a number format is: its elements, the scales they share, and the units it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a GPU file is checked against the formats, so the import goes one way
    from sim.catalog.gpu import Gpu


@dataclass(frozen=True, slots=True)
class Scale:
    """One scale (or zero point, or part of them) of `bits` for `rows` × `columns` elements."""

    bits: float
    columns: int
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Format:
    """A number format of weights, activations or KV.

    `bits = element_bits + Σ scale.bits / (scale.columns · scale.rows)`: for one-level formats
    e + s/k (arXiv 2310.10537), for two-level ones (1 + m) + d1/k1 + d2/k2 (arXiv 2302.08007).
    """

    name: str
    element_bits: float
    """Bits of one element alone, its sign included."""
    compute: str
    """The key of `Gpu.flops_per_s` under which multiplications of two such operands run; `bf16`
    for formats that exist in storage only and are multiplied after dequantisation."""
    source: str
    scales: tuple[Scale, ...] = ()

    @property
    def bits(self) -> float:
        """Bits per element, the share of block scales included."""
        return self.element_bits + sum(s.bits / (s.columns * s.rows) for s in self.scales)

    @property
    def bytes_per_element(self) -> float:
        """Bytes per element, the share of block scales included: bits ÷ 8."""
        return self.bits / 8

    @property
    def block(self) -> int:
        """Elements of a row that belong together (1 = no blocks): a row is whole blocks long.
        Tiles of several rows (fp8_block) keep scales apart from elements, so they pad nothing."""
        return max((s.columns for s in self.scales if s.rows == 1), default=1)

    def storage_bytes(self, rows: int, columns: int) -> float:
        """Bytes of a tensor: elements, every row padded to whole blocks, and whole scales."""
        padded = -(-columns // self.block) * self.block
        bits = rows * padded * self.element_bits
        for s in self.scales:
            bits += -(-rows // s.rows) * -(-padded // s.columns) * s.bits
        return bits / 8

    def runs_on(self, gpu: Gpu) -> bool:
        """Whether the matrix units of `gpu` multiply two operands of this format."""
        return self.compute in gpu.flops_per_s and not self.storage_only

    @property
    def storage_only(self) -> bool:
        """No GPU has units for it: it is dequantised before every product."""
        return self.compute in ("bf16", "fp16") and self.element_bits < 16

    def computed_in(self, gpu: Gpu, activations: Format | None = None) -> str:
        """The key of `gpu.flops_per_s` under which products with weights in this format run.

        With activations in the same format (None), its own units where the GPU has them, else
        bf16 after dequantisation inside the kernel. With other activations the narrower operand is
        widened to the other's units (4-bit weights and FP8 activations: fp8; 4-bit weights and
        16-bit activations: bf16), as W4A8 and W4A16 kernels do.
        """
        if activations is None or activations.compute == self.compute:
            return self.compute if self.compute in gpu.flops_per_s else "bf16"
        narrow, wide = sorted((self, activations), key=lambda f: f.element_bits)
        if narrow.element_bits < wide.element_bits and wide.compute in gpu.flops_per_s:
            return wide.compute
        return "bf16"
