"""`tl-ext ablate`: take latents out at a concept's words, beside random sets of them."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_ext.cli import options, vectors
from tl_ext.errors import InputError

SHOWN = ["set", "quantity", "measure", "moment", "matched"]
SHOWN += ["effect", "random", "difference", "low", "high", "p", "adjusted", "decision"]


def ablate(
    sets: Annotated[
        list[str],
        typer.Argument(
            metavar="DICTIONARY:LATENT[,LATENT...]...",
            help="Sets of latents of one dictionary, such as blocks.3.hook_resid_pre:17,42; each is taken "
            "out as one and its latents one at a time.",
        ),
    ],
    concept: Annotated[str, typer.Option(help="At whose words.")] = "happy",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CONCEPT",
            help="Log-odds are of the concept's words over this one's; otherwise over anything else.",
        ),
    ] = None,
    language: Annotated[str, typer.Option(help="The language of both.")] = "en",
    without: Annotated[
        str | None,
        typer.Option(
            metavar="LATENT[,LATENT...]", help="Latents of the dictionary that are out throughout."
        ),
    ] = None,
    random_sets: Annotated[int, typer.Option(help="Matched sets in each text.", min=1)] = 20,
    relabelled_sets: Annotated[int, typer.Option(help="Sets that p is a rank among.", min=1)] = 99,
    concepts: options.ConceptFile = None,
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 128,
    csv: options.Csv = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Take latents out at a concept's words and hold what changes against random sets like them.

    Example: tl-ext ablate blocks.4.hook_resid_pre:451,381 --against sad --language fr
    """
    from tl_ext.cli import chosen
    from tl_ext.steering.effects import ablation_effects
    from tl_ext.steering.words import as_continuations

    chosen.refuse_sources(sets, dictionaries)
    named = [chosen.latents_named(one) for one in sets]
    ids = {id for id, _ in named}
    if len(ids) > 1:
        raise InputError(f"The sets are of {', '.join(sorted(ids))}; one dictionary is expected.")
    out = chosen.latents_named(f"{named[0][0]}:{without}")[1] if without else []
    said = vectors.concept_in(concept, concepts, (language,))[0]
    other = vectors.concept_in(against, concepts, (language,))[0] if against else None
    hooked, loaded = chosen.open_both(
        model, dictionaries, device=device, trust_remote_code=trust_remote_code
    )
    found = ablation_effects(
        hooked,
        loaded[named[0][0]],
        said,
        {",".join(map(str, latents)): latents for _, latents in named},
        words=as_continuations(said.words, language),
        against=as_continuations(other.words, language) if other else (),
        without=out,
        random_sets=random_sets,
        relabelled_sets=relabelled_sets,
        seed=seed,
        batch_size=batch_size,
        progress=None if quiet else "ablations",
    )
    chosen.show(found.summary[SHOWN], formats=dict.fromkeys(SHOWN[5:12], ".3g"))
    for sentence in found.verdicts():
        typer.echo(sentence)
    chosen.write(found.summary, csv, None, None)
