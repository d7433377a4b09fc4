"""What SAELens does with a bridge, against plain Hugging Face models and torch.

The very same holds beside TransformerLens 3, where SAELens imports by itself, and beside
TransformerLens 4 under the fix; there `smoke.py --beside-saelens` runs this file as a script, under
`tl-ext fixes run no-import-beside-transformerlens-4`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

if __name__ == "__main__":  # as a script, of a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.tiny import VOCABULARY, WIDTH, tiny_hf_model, tiny_tokenizer

FAMILIES = ("gpt2", "qwen2", "phi")
HOOK_POINTS = ("blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out")
IDS = torch.tensor([[2, 5, 9, 20, 7, 33], [2, 41, 8, 11, 30, 6]])

Edit = Callable[[torch.Tensor], torch.Tensor]


def dictionary(hook_point: str, *, seed: int = 1) -> Any:
    """An SAE of random weights, large enough to matter."""
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(hook_name=hook_point, context_size=8, prepend_bos=False)
    sae = StandardSAE(StandardSAEConfig(d_in=WIDTH, d_sae=2 * WIDTH, metadata=metadata))
    random = torch.Generator().manual_seed(seed)
    for parameter in sae.parameters():
        parameter.data.normal_(std=0.3, generator=random)
    return sae


def tokenizer_of(family: str) -> Any:
    return tiny_tokenizer(one_special_token=family != "qwen2")


def bridge(family: str, *, with_saes: bool = True) -> Any:
    """A bridge of a tiny model, of SAELens' class or of TransformerLens'."""
    from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge
    from transformer_lens.model_bridge import TransformerBridge

    made = SAETransformerBridge if with_saes else TransformerBridge
    folder = tokenizer_folder(family)
    from transformers import AutoTokenizer

    return made.boot_transformers(
        "tiny",
        hf_model=tiny_hf_model(family),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device="cpu",
    )


def tokenizer_folder(family: str) -> str:
    """Booting reloads a tokenizer from where it was loaded."""
    folder = tempfile.mkdtemp(prefix="tl-ext-")
    tokenizer_of(family).save_pretrained(folder)
    return folder


@contextmanager
def edited(model: Any, hook_point: str, edit: Edit) -> Iterator[None]:
    """A plain Hugging Face model with an activation of layer 1 edited."""
    layer = (getattr(model, "transformer", None) or model.model).__dict__["_modules"]
    block = layer.get("h", layer.get("layers"))[1]
    if hook_point == "blocks.1.hook_resid_pre":
        handle = block.register_forward_pre_hook(
            lambda module, args, kwargs: (
                ((edit(args[0]), *args[1:]), kwargs)
                if args
                else (args, kwargs | {"hidden_states": edit(kwargs["hidden_states"])})
            ),
            with_kwargs=True,
        )
    else:
        handle = block.mlp.register_forward_hook(lambda module, args, out: edit(out))
    try:
        yield
    finally:
        handle.remove()


def spliced(sae: Any, scale: float = 1.0) -> Edit:
    """The edit that a dictionary stands for, its latents times a factor."""
    return lambda x: sae.decode(scale * sae.encode(x))


def splices(family: str) -> None:
    """A spliced dictionary gives the logits of the model with the same edit, and leaves no trace."""
    plain, model = tiny_hf_model(family), bridge(family)
    for hook_point in HOOK_POINTS:
        sae = dictionary(hook_point)
        with torch.no_grad(), edited(plain, hook_point, spliced(sae)):
            expected = plain(IDS).logits
        with torch.no_grad():
            untouched = plain(IDS).logits
            assert (expected - untouched).abs().max() > 1e-2
            close(model.run_with_saes(IDS, saes=[sae]), expected)
            close(model.run_with_saes(IDS, saes=[sae], use_error_term=True), untouched)
            logits, cache = model.run_with_cache_with_saes(IDS, saes=[sae])
            close(logits, expected)
            acts = cache[model.get_sae_hook_name(sae)]
            assert acts.shape == (*IDS.shape, 2 * WIDTH)
            close(model(IDS), untouched)
        assert model.acts_to_saes == {}


def aliases(family: str) -> None:
    """With its fix, what is inside a dictionary has the names that HookedSAETransformer gives it."""
    from tl_ext import fixes

    hook_point = HOOK_POINTS[0]
    plain, model, sae = tiny_hf_model(family), bridge(family), dictionary(hook_point)
    name = f"{hook_point}.hook_sae_acts_post"
    with fixes.applied("aliases-silent-on-sae-bridge"), torch.no_grad():
        assert hook_point in model.hook_dict
        with model.saes([sae]):  # what is replaced has no name, rather than one that never fires
            assert hook_point not in model.hook_dict
        _, cache = model.run_with_cache_with_saes(IDS, saes=[sae])
        inside = plain(IDS, output_hidden_states=True).hidden_states[1]
        close(cache[name], sae.encode(inside))
        logits = model.run_with_hooks_with_saes(
            IDS, saes=[sae], fwd_hooks=[(name, lambda x, hook: 2 * x)]
        )
        with edited(plain, hook_point, spliced(sae, 2)):
            close(logits, plain(IDS).logits)


def generates(family: str) -> None:
    """Greedy generation under a splice, with a KV cache, is that of the edited model without one."""
    plain, model, sae = tiny_hf_model(family), bridge(family), dictionary(HOOK_POINTS[0])
    ids = IDS[:1]
    with torch.no_grad(), edited(plain, HOOK_POINTS[0], spliced(sae)):
        expected = ids
        for _ in range(5):
            new = plain(expected).logits[:, -1:].argmax(-1)
            expected = torch.cat([expected, new], dim=1)
    with model.saes([sae]):
        found = model.generate(
            ids,
            max_new_tokens=5,
            do_sample=False,
            stop_at_eos=False,
            verbose=False,
            return_type="tokens",
        )
    assert found.tolist() == expected.tolist()


def texts(count: int = 60) -> Any:
    """A data set of words that the tiny tokenizer knows."""
    import random

    from datasets import Dataset

    draw = random.Random(0)
    rows = [" ".join(f"w{draw.randrange(4, VOCABULARY)}" for _ in range(24)) for _ in range(count)]
    return Dataset.from_dict({"text": rows})


def store(model: Any, sae: Any) -> Any:
    from sae_lens.training.activations_store import ActivationsStore

    return ActivationsStore.from_sae(
        model,
        sae,
        texts(),
        train_batch_size_tokens=32,
        n_batches_in_buffer=8,
        store_batch_size_prompts=4,
        streaming=False,
    )


def evaluates(family: str) -> None:
    """run_evals on a TransformerBridge gives the losses of the edited model."""
    from sae_lens.evals import get_eval_everything_config, run_evals
    from sae_lens.training.activation_scaler import ActivationScaler

    sae, model, plain = (
        dictionary(HOOK_POINTS[0]),
        bridge(family, with_saes=False),
        tiny_hf_model(family),
    )
    settings = get_eval_everything_config(
        batch_size_prompts=4, n_eval_reconstruction_batches=1, n_eval_sparsity_variance_batches=1
    )
    found, _ = run_evals(sae, store(model, sae), model, ActivationScaler(), settings)
    losses = found["model_performance_preservation"]
    ids = store(model, sae).get_batch_tokens(4)
    edits: dict[str, Edit] = {
        "ce_loss_without_sae": lambda x: x,
        "ce_loss_with_sae": spliced(sae),
        "ce_loss_with_ablation": torch.zeros_like,
    }
    for name, edit in edits.items():
        with torch.no_grad(), edited(plain, HOOK_POINTS[0], edit):
            expected = plain(ids, labels=ids).loss
        assert abs(losses[name] - expected.item()) < 1e-4, (name, losses, expected)


def trains(family: str) -> None:
    """Training reads what the model computes, and the dictionary learns."""
    from sae_lens import LanguageModelSAETrainingRunner

    hook_point = HOOK_POINTS[0]
    model, plain = bridge(family, with_saes=False), tiny_hf_model(family)
    runner: Any = LanguageModelSAETrainingRunner(
        training(hook_point), override_model=model, override_dataset=texts(400)
    )
    first = runner.activations_store
    ids = first.get_batch_tokens(4)
    with torch.no_grad():
        close(
            first.get_activations(ids).flatten(0, 1).reshape(4, 8, WIDTH),
            plain(ids, output_hidden_states=True).hidden_states[1],
        )
        seen = plain(IDS, output_hidden_states=True).hidden_states[1]
        before = (runner.sae(seen) - seen).square().sum()
    trained = runner.run()
    with torch.no_grad():
        after = (trained(seen) - seen).square().sum()
    assert after < 0.5 * before, (before, after)


def training(hook_point: str, **changes: Any) -> Any:
    """A short run, without files or messages."""
    from sae_lens import LanguageModelSAERunnerConfig, LoggingConfig, TopKTrainingSAEConfig

    settings: dict[str, Any] = {
        "sae": TopKTrainingSAEConfig(d_in=WIDTH, d_sae=2 * WIDTH, k=8),
        "model_class_name": "TransformerBridge",
        "model_name": "tiny",
        "hook_name": hook_point,
        "is_dataset_tokenized": False,
        "prepend_bos": False,
        "context_size": 8,
        "store_batch_size_prompts": 8,
        "n_batches_in_buffer": 16,
        "train_batch_size_tokens": 64,
        "training_tokens": 64 * 80,
        "lr": 3e-3,
        "logger": LoggingConfig(log_to_wandb=False),
        "checkpoint_path": None,
        "output_path": None,
        "verbose": False,
    }
    return LanguageModelSAERunnerConfig(**settings | changes)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def refuses(family: str) -> None:
    """Beside TransformerLens 4: what is gone is refused by name, and nobody else sees stand-ins."""
    import sae_lens.analysis.hooked_sae_transformer as hooked
    import sae_lens.load_model as loading
    import transformer_lens

    model = bridge(family)
    assert not isinstance(model, hooked.HookedTransformer | hooked.HookedSAETransformer)
    for make in (
        hooked.HookedSAETransformer,
        hooked.HookedSAETransformer.from_pretrained,
        hooked.HookedSAETransformer.from_pretrained_no_processing,
    ):
        raises(
            NotImplementedError,
            "SAETransformerBridge.boot_transformers",
            lambda make=make: make("gpt2"),
        )
    raises(ImportError, "removed in TransformerLens 4", lambda: transformer_lens.HookedTransformer)
    assert not [name for name in sys.modules if name.startswith("transformer_lens.Hooked")][1:]

    folder = tokenizer_folder(family)
    tiny_hf_model(family).save_pretrained(folder)
    booted = loading.load_model(
        "HookedTransformer", folder, "cpu", {"center_writing_weights": False}
    )
    assert type(booted).__name__ == "TransformerBridge"
    with torch.no_grad():
        close(booted(IDS), tiny_hf_model(family)(IDS).logits)
    raises(
        NotImplementedError,
        "center_writing_weights was asked for",
        lambda: loading.load_model(
            "HookedTransformer", folder, "cpu", {"center_writing_weights": True}
        ),
    )


def raises(kind: type[Exception], told: str, call: Callable[[], object]) -> None:
    try:
        call()
    except kind as error:
        assert told in str(error), error
    else:
        raise AssertionError(f"{told!r} was not raised")


def probes() -> None:
    """Every fix of SAELens does here what its row says of this pair of releases."""
    from tl_ext import fixes
    from tl_ext.fixes.releases import Agreement, agreement

    wrong = []
    for slug, spec in fixes.specs().items():
        if spec.upstream != "sae_lens" or spec.kind in ("import-time", "source-only"):
            continue
        before = fixes.probe(slug)
        stands = agreement(spec, before)
        right = stands in (Agreement.AGREES, Agreement.UNSAID)
        if spec.kind == "runtime" and before.state is fixes.State.PRESENT:
            with fixes.applied(slug):
                during = fixes.probe(slug)
            right &= during.state is fixes.State.ABSENT
            right &= fixes.probe(slug).state is fixes.State.PRESENT
        print(f"  {slug}: {before.state} ({stands}){'' if right else ' WRONG'}")
        if not right:
            wrong.append(f"{slug}: {before}")
    assert not wrong, "\n".join(wrong)


EVERYWHERE = (splices, aliases, generates, evaluates, trains)
CHECKS = (*EVERYWHERE, refuses)


def main() -> None:
    begin = time.perf_counter()
    import sae_lens

    print(f"sae-lens {sae_lens.__version__} imported in {time.perf_counter() - begin:.0f} s")
    for check in CHECKS:
        for family in FAMILIES:
            check(family)
        print(f"{check.__name__}: {', '.join(FAMILIES)} ({time.perf_counter() - begin:.0f} s)")
    probes()
    print(f"probes ({time.perf_counter() - begin:.0f} s)")


if __name__ == "__main__":
    main()
