"""Scripts of at most thirty lines that show a failure with transformers and TransformerLens alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tl_ext.conformance.examples import Example

_SCRIPT = """\
import copy, sys, torch, transformers
from tokenizers import Tokenizer, models
from transformer_lens.model_bridge import TransformerBridge
torch.manual_seed({seed})
torch.set_grad_enabled(False)
config = transformers.{config}(**{settings})
model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
for parameter in model.parameters():
    parameter += {spread} * torch.randn_like(parameter)
model.config.architectures, reference = [type(model).__name__], copy.deepcopy(model)
words = Tokenizer(models.WordLevel({{"w": 0}}, unk_token="w"))
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w", pad_token="w")
bridge = TransformerBridge.boot_transformers("tiny", hf_model=model, tokenizer=tokenizer, device="cpu")
ids = torch.tensor({ids})
{lines}
print("error", float(error))
sys.exit(float(error) > {tolerance})
"""


def script(example: Example, lines: str, *, tolerance: float) -> str:
    """A script that ends with status 1 where a violation shows.

    Args:
        example: The example it showed in.
        lines: Lines that compute `error` from `bridge`, `reference` and `ids`.
        tolerance: The largest error that is rounding.

    Returns:
        The script; empty where there are no lines, or the config is none of transformers' own.
    """
    import transformers

    config = type(example.config).__name__
    if not lines or getattr(transformers, config, None) is not type(example.config):
        return ""
    from tl_ext.conformance.subject import SPREAD

    return _SCRIPT.format(
        seed=example.seed,
        config=config,
        settings=example.settings,
        spread=SPREAD,
        ids=[list(row) for row in example.ids],
        lines=lines.rstrip(),
        tolerance=tolerance,
    )
