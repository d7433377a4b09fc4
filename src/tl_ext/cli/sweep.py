"""`tl-ext sweep`: vectors over strengths, scored beside their controls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tl_ext.cli import options, vectors
from tl_ext.errors import InputError

_NEUTRAL = 16  # background texts kept for side effects, away from those that give the unit
_SHOWN = (
    "vector role strength concept_unit fluency_unit diversity_unit language_kept_unit side_effect_unit "
    "harmonic odds_change"
).split()


def sweep(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to continue.")],
    toward: Annotated[
        str,
        typer.Option(
            metavar="CONCEPT", help="The concept whose words are to become more probable."
        ),
    ],
    away: Annotated[str, typer.Option(metavar="CONCEPT", help="The concept opposed to it.")],
    latent: Annotated[
        list[str] | None,
        typer.Option(
            help="DICTIONARY:LATENT[,LATENT...] to try, such as blocks.3.hook_resid_pre:17; repeat it for "
            "another dictionary. None: the difference of the two concepts' means."
        ),
    ] = None,
    hook_point: Annotated[
        str | None,
        typer.Option(
            help="Where the difference of means acts, which beside latents is their baseline; unless "
            "told where the first latent does."
        ),
    ] = None,
    concepts: options.ConceptFile = None,
    language: Annotated[
        str, typer.Option(help="The language of prompts and words, as en, which texts are to keep.")
    ] = "en",
    among: Annotated[
        str, typer.Option(help="Languages that texts may be taken for, comma-separated.")
    ] = "en,fr",
    words: Annotated[
        int, typer.Option(help="Words of each concept that are looked for, at most.", min=1)
    ] = 6,
    strength: Annotated[
        str, typer.Option(help="Strengths, comma-separated, in units.")
    ] = "0.5,1,2,4",
    unit: Annotated[
        options.Unit | None,
        typer.Option(
            help="What strength 1 is: a latent's largest activation on background text (the default), "
            "or the usual norm of the hook point; for means alone the difference itself unless told."
        ),
    ] = None,
    positions: Annotated[
        options.Positions, typer.Option(help="Which tokens are steered.")
    ] = options.Positions.all,
    samples: Annotated[int, typer.Option(help="Continuations of each prompt.", min=1)] = 2,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens of a continuation.", min=1)] = 24,
    random: Annotated[
        int, typer.Option(help="Random directions of equal length beside each vector.", min=0)
    ] = 3,
    neutral: Annotated[
        Path | None,
        typer.Option(
            help="Neutral texts, one a line, for side effects; otherwise of the background."
        ),
    ] = None,
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    background: options.Background = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 128,
    csv: options.Csv = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Try vectors at several strengths, each beside its reverse, random directions and the baseline.

    Example: tl-ext sweep "I think that I am" --toward happy --away sad
    --latent blocks.4.hook_resid_pre:882
    """
    from tl_ext.cli import chosen
    from tl_ext.models.loading import load_model
    from tl_ext.steering.sweep import steering_sweep
    from tl_ext.study.session import background_texts

    chosen.refuse_sources(prompts, dictionaries)
    strengths = vectors.numbers(strength)
    wanted = [
        (id, one)
        for given in latent or ()
        for id, ones in [chosen.latents_named(given)]
        for one in ones
    ]
    if not wanted and hook_point is None:
        raise InputError(
            "What steers? Give --latent DICTIONARY:LATENT, or --hook-point for the means."
        )
    if not wanted and unit is options.Unit.largest:
        raise InputError("--unit largest is a latent's; give --latent, or --unit 'usual norm'.")
    pair = [vectors.concept_in(name, concepts, (language,))[0] for name in (toward, away)]
    positive, negative = _words([one.words for one in pair], language, words)
    if wanted or dictionaries:
        hooked, loaded = chosen.open_both(
            model, dictionaries, device=device, trust_remote_code=trust_remote_code
        )
    else:
        hooked = load_model(model, device=device, trust_remote_code=trust_remote_code)
    texts = background_texts(background, hooked, seed=seed, progress=not quiet)[0]
    if neutral is not None:
        held_out = background_texts(neutral, hooked)[0]
    else:
        texts, held_out = texts[:-_NEUTRAL], texts[-_NEUTRAL:]
        if not texts:
            raise InputError(
                f"The background has {len(held_out)} texts; more than {_NEUTRAL} are needed, or texts "
                "of their own for side effects: --neutral FILE."
            )
    tried = []
    if wanted:
        tried = vectors.of_latents(hooked, loaded, wanted, unit, texts, batch_size, quiet)
    means = vectors.of_means(
        hooked,
        hook_point or tried[0].hook_point,
        [one.examples for one in pair],
        f"means, {toward} - {away}",
        None if tried else unit,
        lambda: texts,
        batch_size,
    )
    for vector in tried or [means]:
        typer.echo(
            f"{vector.name}: strength 1 is {vector.unit:.4g}, the {vector.unit_name}.", err=True
        )
    found = steering_sweep(
        hooked,
        tried or [means],
        strengths,
        prompts,
        words=positive,
        against=negative,
        neutral_texts=held_out,
        language=language,
        among=options.split(among) or (),
        samples=samples,
        max_new_tokens=max_new_tokens,
        random=random,
        baselines=[means] if tried else [],
        seed=seed,
        positions=positions.value,
        batch_size=batch_size,
        progress=None if quiet else "sweep",
    )
    shown = found.summary()
    shown["vector"] = [
        name.removesuffix(f", normed as {of}")
        for name, of in zip(shown["vector"], shown["of"], strict=True)
    ]
    chosen.show(shown[_SHOWN], formats={"strength": "g", "odds_change": "+.2f"})
    chosen.write(found.rows, csv, None, None)


def _words(lists: Sequence[Sequence[str]], language: str, most: int) -> tuple[list[str], list[str]]:
    """The first words of each of two concepts that are not words of the other."""
    from tl_ext.steering.words import as_continuations

    first, second = (
        as_continuations([word for word in own if word not in other][:most], language)
        for own, other in (lists, lists[::-1])
    )
    if not first or not second:
        raise InputError("The two concepts have the same words, so nothing tells them apart.")
    return first, second
