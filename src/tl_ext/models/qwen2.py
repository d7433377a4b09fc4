"""Qwen2 without a language head: classifiers, reward models, token classifiers and embedders.

TransformerLens has `Qwen2ForCausalLM`. The adapters here are its own, less the unembedding and with
the head that the checkpoint has: a component called `classifier`, or none. What transformers computes
is left to transformers, pooling over the last token that is not padding included.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformer_lens.model_bridge.generalized_components import LinearBridge
from transformer_lens.model_bridge.supported_architectures.qwen2 import Qwen2ArchitectureAdapter
from transformers import PreTrainedModel

from tl_ext.errors import InputError


class _Qwen2WithoutUnembedding(Qwen2ArchitectureAdapter):
    """What the three have in common: upstream's components, and no next token to predict.

    Weight processing is refused: it folds the final norm into an unembedding and centres that, and
    centring a head of one class would set every score to zero.
    """

    hf_auto_class: ClassVar[str]
    model_class: ClassVar[str]
    supports_generation = False
    supports_causal_loss = False
    supports_compatibility_mode = False

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        assert self.component_mapping is not None  # upstream's constructor makes it
        del self.component_mapping["unembed"]

    def prepare_model(self, hf_model: Any) -> None:
        """Refuse a model of another class, whose head would be another or made at random.

        Raises:
            InputError: transformers loaded something else than the checkpoint's architecture.
        """
        loaded = [base.__name__ for base in type(hf_model).__mro__]
        if self.model_class not in loaded:
            raise InputError(
                f"The checkpoint is a {self.model_class} and was loaded as {loaded[0]}, which has "
                "another head. Call tl_ext.activate() before boot_transformers, or pass "
                f"model_class=transformers.{self.model_class}."
            )
        super().prepare_model(hf_model)


class Qwen2ModelAdapter(_Qwen2WithoutUnembedding):
    """`Qwen2Model`, such as embedders: the result is the final norm's output.

    Its components are those of the causal model without `unembed`, and `bridge(tokens)` gives
    `[batch, pos, d_model]`.
    """

    hf_auto_class = "AutoModel"
    model_class = "Qwen2Model"

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self._reprefix_components("model.", "")


class _Qwen2Classifier(_Qwen2WithoutUnembedding):
    """A linear head on the final norm's output, hooked as `classifier`."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        assert self.component_mapping is not None
        self.component_mapping["classifier"] = LinearBridge(name="score")

    def prepare_model(self, hf_model: Any) -> None:
        super().prepare_model(hf_model)
        self.cfg.d_vocab_out = hf_model.config.num_labels


class Qwen2TokenClassificationAdapter(_Qwen2Classifier):
    """`Qwen2ForTokenClassification`: `bridge(tokens)` gives scores `[batch, pos, class]`.

    `classifier.hook_in` holds `[batch, pos, d_model]`, `classifier.hook_out` the scores.
    """

    hf_auto_class = "AutoModelForTokenClassification"
    model_class = "Qwen2ForTokenClassification"


class Qwen2SequenceClassificationAdapter(_Qwen2Classifier):
    """`Qwen2ForSequenceClassification`, such as reward models: scores `[batch, class]`.

    transformers scores every position and then takes the last one that is not padding, by
    `config.pad_token_id`. So `classifier.hook_in` holds `[batch, pos, d_model]`,
    `classifier.hook_out` `[batch, pos, class]`, and of their edits the result sees the last token's.
    """

    hf_auto_class = "AutoModelForSequenceClassification"
    model_class = "Qwen2ForSequenceClassification"

    def prepare_model(self, hf_model: Any) -> None:
        super().prepare_model(hf_model)
        hf_model.register_forward_pre_hook(_check_pooling, with_kwargs=True)


def _check_pooling(model: PreTrainedModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise where transformers would read the score off a position that is masked out.

    It finds the last token by id, so it misses padding of another id, or of embeddings.
    """
    mask = kwargs.get("attention_mask")
    ids: Tensor | None = args[0] if args else kwargs.get("input_ids")
    padding = model.config.pad_token_id
    if mask is None or mask.ndim != 2:
        return
    if ids is None or padding is None:
        last = torch.full((len(mask),), mask.shape[1] - 1, device=mask.device)
    else:
        # The mask may span a cache before the ids.
        mask = mask[:, -ids.shape[1] :]
        last = (torch.arange(ids.shape[1], device=ids.device) * (ids != padding)).argmax(-1)
    masked = mask.gather(1, last.to(mask.device)[:, None]).squeeze(1) == 0
    if bool(masked.any()):
        row = int(masked.nonzero()[0])
        raise InputError(
            f"Row {row}: its score would be read at position {int(last[row])}, which the attention "
            f"mask hides. The model tells padding by config.pad_token_id, which is {padding}; pad "
            "with that id, or on the left."
        )
