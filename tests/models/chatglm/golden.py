"""Holds a hooked model to expected tensors, under the names the golden files give them.

One comparison for what the original code wrote (the golden files) and for what the reference computes
on drawn models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jaxtyping import Bool, Float
from safetensors.torch import load_file
from torch import Tensor

ATOL = 1e-4

# Hook points on the left hold the tensor on the right, heads in a dimension of their own.
MODEL_HOOKS = {
    "hook_embed": "hidden_states.0",
    "hook_unembed": "logits",
    "ln_final.hook_in": "hidden_states.{layers}",
    "ln_final.hook_out": "final_layernorm_out",
    "unembed.hook_in": "final_layernorm_out",
}
LAYER_HOOKS = {
    "hook_resid_pre": "hidden_states.{layer}",
    "ln1.hook_out": "layers.{layer}.input_layernorm_out",
    "attn.hook_q": "layers.{layer}.q_pre_rotary",
    "attn.hook_k": "layers.{layer}.k_pre_rotary",
    "attn.hook_v": "layers.{layer}.v",
    "attn.hook_rot_q": "layers.{layer}.q",
    "attn.hook_rot_k": "layers.{layer}.k",
    "attn.hook_attn_scores": "layers.{layer}.attn_scores",
    "attn.hook_pattern": "layers.{layer}.attn_probs",
    "attn.hook_z": "layers.{layer}.context",
    "hook_attn_out": "layers.{layer}.attn_out",
    "hook_resid_mid": "layers.{layer}.resid_mid",
    "ln2.hook_out": "layers.{layer}.post_attention_layernorm_out",
    "mlp.hook_pre": "layers.{layer}.gate",
    "mlp.hook_pre_linear": "layers.{layer}.up",
    "mlp.hook_post": "layers.{layer}.swiglu_out",
    "hook_mlp_out": "layers.{layer}.mlp_out",
    "hook_resid_post": "hidden_states.{next}",
}
# Folding a norm into what reads it moves its weight; `assert_processed` leaves these to the logits.
FOLDED = ("ln_final.hook_out", "unembed.hook_in", "ln1.hook_out", "ln2.hook_out")


def read_golden(folder: Path, run: str) -> dict[str, Tensor]:
    """The tensors of one run (`main`, `gapped`, `padded`, ...), without the run's name before them."""
    tensors = load_file(folder / "golden.safetensors")
    return {
        key.removeprefix(f"{run}."): t for key, t in tensors.items() if key.startswith(f"{run}.")
    }


def expected_at(golden: Mapping[str, Tensor], layers: int) -> Iterator[tuple[str, Tensor]]:
    """Each hook point and what it holds, as far as `golden` tells."""
    known = dict(golden)
    for layer in range(layers):
        both = known.get(f"layers.{layer}.dense_h_to_4h_out")
        if both is not None:
            gate, up = both.chunk(2, dim=-1)
            known |= {f"layers.{layer}.gate": gate, f"layers.{layer}.up": up}
    names = {hook: name.format(layers=layers) for hook, name in MODEL_HOOKS.items()}
    for layer in range(layers):
        for hook, name in LAYER_HOOKS.items():
            names[f"blocks.{layer}.{hook}"] = name.format(layer=layer, next=layer + 1)
    for hook, name in names.items():
        if name in known:
            yield hook, known[name]


def assert_raw(
    cache: Mapping[str, Tensor],
    golden: Mapping[str, Tensor],
    *,
    layers: int,
    rows: Bool[Tensor, "batch position"] | None = None,
    atol: float = ATOL,
) -> int:
    """Every hook point of an unprocessed model holds the golden tensor.

    Args:
        cache: What `run_with_cache` gave.
        golden: The expected tensors by their golden names.
        layers: How many layers the model has.
        rows: The positions to compare; None for all.
        atol: The largest difference allowed.

    Returns:
        How many hook points were compared.
    """
    compared = 0
    for hook, want in expected_at(golden, layers):
        assert_close(cache[hook], want, hook, rows=rows, atol=atol)
        compared += 1
    return compared


def assert_processed(
    cache: Mapping[str, Tensor],
    golden: Mapping[str, Tensor],
    *,
    layers: int,
    value_biases: Sequence[Float[Tensor, "group kv"]],
    rows: Bool[Tensor, "batch position"] | None = None,
    atol: float = ATOL,
) -> int:
    """Compatibility mode changes what it says it changes, and nothing else.

    Values and heads' outputs are less by the value bias, which is folded into the attention's output;
    logits may differ by one constant per position; what a folded norm gives is not looked at.

    Returns:
        How many hook points were compared.
    """
    compared = 0
    for hook, want in expected_at(golden, layers):
        got = cache[hook]
        if hook.endswith(FOLDED):
            continue
        if hook == "hook_unembed":
            assert_log_probabilities(got, want, rows=rows, atol=atol)
            compared += 1
            continue
        if hook.endswith(("attn.hook_v", "attn.hook_z")):
            bias = value_biases[int(hook.split(".")[1])]
            per_head = bias.repeat_interleave(got.shape[2] // len(bias), dim=0)
            want = want.reshape(got.shape) - per_head.to(want)
        assert_close(got, want, hook, rows=rows, atol=atol)
        compared += 1
    return compared


def assert_log_probabilities(
    logits: Float[Tensor, "batch position d_vocab"],
    want: Float[Tensor, "batch position d_vocab"],
    *,
    rows: Bool[Tensor, "batch position"] | None = None,
    atol: float = ATOL,
) -> None:
    """The same log-probabilities, and logits that differ by one constant per position."""
    assert_close(logits.log_softmax(-1), want.log_softmax(-1), "log-probabilities", rows, atol)
    off = logits.double() - want.double()
    assert_close(
        off, off.mean(-1, keepdim=True).expand_as(off), "logits but one constant", rows, atol
    )


def assert_close(
    got: Tensor,
    want: Tensor,
    name: str,
    rows: Bool[Tensor, "batch position"] | None = None,
    atol: float = ATOL,
) -> None:
    """`got` holds `want`: heads side by side or apart, masked scores as low as may be."""
    assert got.numel() == want.numel(), f"{name}: {tuple(got.shape)} for {tuple(want.shape)}"
    got, want = got.detach().reshape(want.shape).double(), want.double()
    if rows is not None:
        per_row = name.endswith(("hook_attn_scores", "hook_pattern"))  # [batch, head, query, key]
        got, want = ((t.transpose(1, 2) if per_row else t)[rows] for t in (got, want))
    masked = want.isneginf()
    assert bool((got[masked] < -1e30).all()), f"{name}: a masked score can be seen"
    off = (got - want)[~masked].abs()
    worst = float(off.max()) if off.numel() else 0.0
    assert worst <= atol, f"{name}: off by {worst:.2e}, more than {atol:.0e}"
