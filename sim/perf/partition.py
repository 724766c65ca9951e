"""Prefill and decode side by side on one GPU, with r and 1 − r of its streaming multiprocessors
(Nexus, arXiv 2507.06608).

Forms are those of `references` on the paper, some of them inferred from its text, where the
equations are images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BETA = 1.1
"""How much slower than at its best decode may be while prefill is protected."""
ALPHA = 1.3
"""The same for prefill while decode is protected."""
KV_FULL = 0.7
"""Share of the KV pool in use above which decode is protected."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a kind of work speeds up with its share of multiprocessors."""

    saturation: float = 1.0
    """Share up to which it speeds up in proportion (R_sat)."""
    decay: float = 0.0
    """What each further share is worth, of one in proportion (λ)."""

    def seconds(self, whole_s: float, share: float) -> float:
        """Of work that takes `whole_s` on the whole GPU: t ∝ 1/r up to R_sat, beyond it
        1/(R_sat + λ · (r − R_sat))."""
        return whole_s * self._worth(1.0) / self._worth(share)

    def _worth(self, share: float) -> float:
        if share <= self.saturation:
            return share
        return self.saturation + self.decay * (share - self.saturation)


def decode_bandwidth_share(
    attention_share: float, decode: float, attention: float, products: float
) -> float:
    """Share of memory bandwidth that decode gets: P · m_d/(m_d + m_p1) + (1 − P) · m_d/(m_d +
    m_p2), for P of prefill's time in attention, and demands m of bytes per second alone: decode's,
    prefill's in attention, prefill's in products."""
    beside_attention = decode / (decode + attention)
    beside_products = decode / (decode + products)
    return attention_share * beside_attention + (1.0 - attention_share) * beside_products


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds of a prefill and of a decode step, alone on the GPU, by what bounds them."""

    prefill_products_s: float
    prefill_attention_s: float
    decode_compute_s: float
    """Of a decode step, what multiprocessors bound."""
    decode_memory_s: float
    """Of a decode step, what memory bandwidth bounds."""
    decode_demand: float
    """Bytes per second that decode asks for, of one."""
    attention_demand: float
    products_demand: float
    products: Scaling = Scaling()
    attention: Scaling = Scaling()
    decode: Scaling = Scaling()

    def prefill_s(self, share: float) -> float:
        """A prefill on `share` of the multiprocessors."""
        products = self.products.seconds(self.prefill_products_s, share)
        return products + self.attention.seconds(self.prefill_attention_s, share)

    def decode_s(self, share: float) -> float:
        """A decode step on `share`, beside a prefill on the rest."""
        attention = self.attention.seconds(self.prefill_attention_s, 1.0 - share)
        part = attention / self.prefill_s(1.0 - share)
        rate = decode_bandwidth_share(
            part, self.decode_demand, self.attention_demand, self.products_demand
        )
        compute = self.decode.seconds(self.decode_compute_s, share)
        memory = self.decode_memory_s / rate
        return compute if compute > memory else memory


def protects_decode(kv_use: float, limit: float = KV_FULL) -> bool:
    """Whether decode is protected: its sequences fill the KV pool and must drain."""
    return kv_use > limit


def best_share(
    phases: Phases,
    shares: Sequence[float],
    *,
    protect_decode: bool,
    beta: float = BETA,
    alpha: float = ALPHA,
) -> float:
    """Prefill's share of the multiprocessors, out of `shares` in rising order: the one at which the
    one phase is quickest while the other takes at most its factor of its best."""
    prefill = [phases.prefill_s(r) for r in shares]
    decode = [phases.decode_s(1.0 - r) for r in shares]
    if protect_decode:
        return _quickest(shares, decode, prefill, alpha)
    return _quickest(shares, prefill, decode, beta)


def _quickest(
    shares: Sequence[float], wanted: Sequence[float], other: Sequence[float], factor: float
) -> float:
    limit = factor * min(other)
    allowed = [(w, r) for w, o, r in zip(wanted, other, shares, strict=True) if o <= limit]
    return min(allowed)[1]


def kept_share(now: float, wanted: float, least_change: float) -> float:
    """The share to run with: a new one only when it is `least_change` away (hysteresis)."""
    return wanted if abs(wanted - now) >= least_change else now
