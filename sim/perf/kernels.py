"""What turns the work of a layer into seconds on a GPU: the seam of layouts and efficiencies."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.catalog.formats import Format
from sim.network.collectives import Collectives
from sim.perf.attentions import AttentionWork
from sim.perf.layer_work import Exchange, Routed
from sim.perf.mixed_attention import MixedAttention
from sim.perf.price_list import DecodeTables, PrefillTables

Array = NDArray[np.float64]


class Kernels(Protocol):
    """Seconds of every kind of kernel on one GPU, as arrays over whole numbers of tokens.

    0 where there are no tokens.
    """

    def product_s(self, tokens: Array, inputs: int, outputs: int, fmt: Format) -> Array:
        """(tokens × inputs) by (inputs × outputs), with weights in `fmt`."""

    def pass_s(self, tokens: Array, numbers: float) -> Array:
        """One elementwise kernel that moves `numbers` activations per token."""

    def routed_s(self, tokens: Array, routed: Routed) -> Array:
        """The routed experts of one layer on the slowest device; `tokens` of all ranks."""

    def dispatch_s(self, tokens: Array, exchange: Exchange, among: Collectives) -> Array:
        """Tokens of a rank to the devices of their experts, or the results back."""

    def decode(self, work: AttentionWork, batch: Array) -> DecodeTables:
        """Decode attention of one layer, at these numbers of sequences."""

    def prefill(self, work: AttentionWork, tokens: Array) -> PrefillTables:
        """Prefill attention of one layer, at these numbers of prompt tokens."""

    def mixed(self, work: AttentionWork, sequences: int, tokens: int) -> MixedAttention | None:
        """How decodes go beside prompts in one kernel of one layer; None = one after the other."""

    def block_s(self, work: AttentionWork, tokens: Array, decode: bool) -> Array | None:
        """The projections around attention in one piece, or None where they are to be
        priced product by product."""
