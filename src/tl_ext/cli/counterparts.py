"""`tl-ext counterparts`: the same latent in other layers."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_ext.cli import options


def counterparts(
    latents: Annotated[
        list[str],
        typer.Argument(
            metavar="DICTIONARY:LATENT...",
            help="The latents, such as blocks.3.hook_resid_pre:17,42 blocks.4.hook_resid_pre:9.",
        ),
    ],
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    background: options.Background = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 32,
    csv: options.Csv = None,
    figure: options.Figure = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Find the most similar latent of every other layer, and whether that is more than chance.

    Compared are dictionaries of the same kind of hook point: directions in the residual stream, those
    at hook_z through W_O, and activations over background text, the counterpart chosen on one half and
    measured on the other.

    Example: tl-ext counterparts blocks.4.hook_resid_pre:451,903 --background sentences.txt
    """
    from tl_ext.cli import chosen
    from tl_ext.study.calls.counterparts import counterparts as find
    from tl_ext.study.session import BACKGROUND_TOKENS, background_texts

    chosen.refuse_sources(latents, dictionaries)
    wanted: dict[str, list[int]] = {}
    for given in latents:
        id, which = chosen.latents_named(given)
        wanted.setdefault(id, []).extend(which)
    hooked, loaded = chosen.open_both(
        model, dictionaries, device=device, trust_remote_code=trust_remote_code
    )
    texts = background_texts(background, hooked, seed=seed, progress=not quiet)[0]
    found = find(
        hooked,
        loaded,
        wanted,
        texts,
        seed=seed,
        batch_size=batch_size,
        max_tokens=min(int(hooked.cfg.n_ctx), BACKGROUND_TOKENS),
        progress=not quiet,
    )
    chosen.show(found.table.drop(columns=["hook_point", "layer", "other_layer"]))
    chosen.write(found.table, csv, found.figure(), figure)
