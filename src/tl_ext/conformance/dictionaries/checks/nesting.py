"""Several dictionaries in one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.dictionaries.subject import Place, Rows

if TYPE_CHECKING:
    from tl_ext.conformance.dictionaries.subject import DictionarySubject


@check("D11", "attaches")
def dictionaries_at_one_place_replace_and_give_back(
    subject: DictionarySubject, found: Findings
) -> None:
    """Another at the same place takes its place, and gives it back when it is taken away."""
    other = _companion(subject, subject.hook_in, subject.hook_out)
    _nested(
        subject,
        found,
        other,
        [Place(subject.hook_in, subject.hook_out, _rows(other))],
        "another at its place",
    )


@check("D11", "attaches")
def dictionaries_that_read_one_place_are_both_there(
    subject: DictionarySubject, found: Findings
) -> None:
    """An SAE and a transcoder that read one hook point act both, and both are gone afterwards."""
    last = f"blocks.{subject.bridge.cfg.n_layers - 1}.hook_out"
    if subject.hook_in != subject.hook_out:
        # What it reads is then what the SAE gives.
        other = _companion(subject, subject.hook_in, subject.hook_in)
        first = Place(subject.hook_in, subject.hook_in, _rows(other))
        _nested(subject, found, other, [first, subject.place], "an SAE where it reads")
    elif subject.hook_in != last:
        other = _companion(subject, subject.hook_in, last)
        second = Place(subject.hook_in, last, _rows(other))
        _nested(subject, found, other, [subject.place, second], "a transcoder where it reads")


def _nested(
    subject: DictionarySubject, found: Findings, other: Any, places: list[Place], what: str
) -> None:
    alone, both = subject.by_hand(subject.place), subject.by_hand(*places)
    with subject.kept():
        with subject.bridge.saes([subject.sae], use_error_term=False):
            with subject.bridge.saes([other], use_error_term=False):
                inner = subject.run()
            outer = subject.run()
        after = subject.run()
    found.close(f"logits with {what}", inner, both)
    found.close(f"logits after {what} is gone", outer, alone)
    found.same(f"logits after both are gone, it and {what}", after, subject.logits)


def _companion(subject: DictionarySubject, hook_in: str, hook_out: str) -> Any:
    """An SAE, or a transcoder between two hook points, of random weights."""
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.transcoder import Transcoder, TranscoderConfig

    widths = {name: held.shape[-1] for name, held in subject.held([hook_in, hook_out]).items()}
    sizes = {"d_in": widths[hook_in], "d_sae": 2 * widths[hook_in]}
    given = subject.sae.cfg.metadata.hook_name
    read = given if hook_in == subject.hook_in else hook_in
    made: Any
    if hook_in == hook_out:
        made = StandardSAE(StandardSAEConfig(metadata=SAEMetadata(hook_name=read), **sizes))
    else:
        metadata = SAEMetadata(hook_name=read, hook_name_out=hook_out)
        made = Transcoder(
            TranscoderConfig(
                d_out=widths[hook_out], apply_b_dec_to_input=False, metadata=metadata, **sizes
            )
        )
    generator = torch.Generator().manual_seed(subject.seed + 1)
    for parameter in made.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made.to(subject.dtype).eval()


def _rows(sae: Any) -> Rows:
    def rows(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            made: torch.Tensor = sae(x)
        return made

    return rows
