"""What comes out: the plain model's logits, and how the last residual stream becomes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tl_ext.conformance.checking import Findings, check

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject


@check("M1")
def logits_are_the_plain_models(subject: Subject, found: Findings) -> None:
    """The logits of tokens are those of the plain model."""
    found.close(
        "logits",
        subject.logits,
        subject.truth,
        script="error = (bridge(ids) - reference(ids).logits).abs().max()",
    )


@check("M11", "plain-unembedding")
def the_last_residual_stream_gives_the_logits(subject: Subject, found: Findings) -> None:
    """The final norm's output times the unembedding is the logits."""
    bridge, cache = subject.bridge, subject.cache
    normed = cache.get("ln_final.hook_out", cache.get(f"blocks.{bridge.cfg.n_layers - 1}.hook_out"))
    if normed is None:
        found.holds("ln_final", False, "neither it nor the last block has a hook point that fires")
        return
    bias = getattr(bridge.unembed, "b_U", None)
    logits = normed @ bridge.unembed.W_U
    found.close(
        "unembed",
        logits if bias is None else logits + bias,
        subject.logits,
        script="""\
        normed = bridge.run_with_cache(ids)[1]["ln_final.hook_out"]
        logits = normed @ bridge.unembed.W_U + bridge.unembed.b_U
        error = (logits - bridge(ids)).abs().max()""",
    )
