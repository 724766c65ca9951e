"""The target's own multi-token-prediction layers draft (DeepSeek-V3, arXiv 2412.19437, section
2.2): the last attention and feed-forward of the target, a projection of embedding and hidden state
(2h → h), and the target's head. Drafts beyond the layers that a checkpoint has run through the last
of them again (vLLM, SGLang and TensorRT-LLM with one MTP layer)."""

from __future__ import annotations

from dataclasses import replace

from sim.catalog.counting import kv_elements_per_token
from sim.catalog.model import Layer, Model, NoFfn
from sim.errors import ScenarioError
from sim.perf.acceptances import AcceptanceSetting
from sim.perf.drafts import DraftHost, Drafting, DraftTokens, matrix
from sim.perf.layouts import Layout
from sim.perf.speculation.acceptance import Tree
from sim.perf.task import Formats
from sim.settings import settings


@settings
class Mtp:
    """Layers that come with the weights."""

    acceptance: AcceptanceSetting
    """How readily their drafts are accepted."""
    draft_tokens: DraftTokens = 3
    """Drafts per verify step."""

    @property
    def layout(self) -> Layout | None:
        """As the target."""
        return None

    @property
    def apart(self) -> bool:
        """No: they read the target's hidden states."""
        return False

    def drafting(self, target: Model, formats: Formats) -> Drafting:
        """One layer a pass, in the target's formats."""
        if not target.mtp_layers:
            raise ScenarioError(
                f"mtp: {target.name} comes without multi-token-prediction layers; write eagle, "
                "draft_model or ngram"
            )
        attention = next(x for x in reversed(target.layers) if kv_elements_per_token(x.attention))
        ffn = next(x for x in reversed(target.layers) if not isinstance(x.ffn, NoFfn))
        layers = (
            Layer(attention.attention, ffn.ffn),
            matrix(2 * target.hidden**2, target.hidden),
        )
        model = replace(
            target, name=f"MTP layer of {target.name}", layers=layers, tied_embeddings=True
        )
        copies = target.mtp_layers
        return Drafting(model, formats, sees_verified=True, own_head=False, copies=copies)

    def tree(self, draft_tokens: int) -> Tree:
        """A chain."""
        return Tree.chain(draft_tokens)

    def host(self) -> DraftHost:
        """None beside the engine's."""
        return DraftHost()

    def assumptions(self) -> list[dict[str, str]]:
        """Those of the acceptance."""
        return self.acceptance.assumptions()
