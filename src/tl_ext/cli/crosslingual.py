"""`tl-ext crosslingual`: which latents belong to a concept in several languages."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_ext.cli import options
from tl_ext.errors import InputError


def crosslingual(
    name: Annotated[
        str, typer.Argument(metavar="CONCEPT", help="happy, sad, excited, or a name of the file.")
    ] = "happy",
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    concepts: options.ConceptFile = None,
    languages: options.Languages = None,
    background: options.Background = None,
    layer: options.Layer = None,
    top: options.Top = 5,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 32,
    csv: options.Csv = None,
    figure: options.Figure = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Print how many latents belong to a concept in all its languages and in any, and the first of them.

    Example: tl-ext crosslingual happy --languages en,fr --layer 3
    """
    from tl_ext.cli import chosen
    from tl_ext.dictionaries.reading import background_statistics
    from tl_ext.study.calls.crosslingual import crosslingual_features
    from tl_ext.study.session import BACKGROUND_TOKENS, background_texts

    said = chosen.concepts_named([name], concepts, options.split(languages))
    if len(said) < 2:
        raise InputError(
            f"{name!r} in {', '.join(one.language for one in said) or 'no language asked for'}: two "
            "languages or more are compared, as --languages en,fr."
        )
    hooked, loaded = chosen.open_both(
        model, dictionaries, layer=layer, device=device, trust_remote_code=trust_remote_code
    )
    texts, _ = background_texts(background, hooked, seed=seed, progress=not quiet)
    known = background_statistics(
        hooked,
        loaded,
        texts,
        batch_size=batch_size,
        max_tokens=min(int(hooked.cfg.n_ctx), BACKGROUND_TOKENS),
        progress=None if quiet else "background",
    )
    found = crosslingual_features(
        hooked,
        loaded,
        said,
        background=known,
        seed=seed,
        batch_size=batch_size,
        progress=not quiet,
    )
    chosen.show(found.shares.drop(columns=["hook_point", "layer"]), formats={"share": ".1%"})
    best = found.shown().groupby("dictionary", sort=False).head(top)
    columns = [f"p_{one.language}" for one in said]
    chosen.show(
        best[["dictionary", "latent", "kind", *columns, "adjusted"]],
        formats=dict.fromkeys([*columns, "adjusted"], ".2g"),
    )
    chosen.write(found.table, csv, found.figure() if figure else None, figure)
