"""`tl-ext steer`: continue prompts while an edit acts, beside the model as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tl_ext.cli import options, vectors
from tl_ext.errors import InputError

if TYPE_CHECKING:
    from tl_ext.interventions.edits import Edit


def steer(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to continue.")],
    latent: Annotated[
        str | None,
        typer.Option(
            help="DICTIONARY:LATENT, such as blocks.3.hook_resid_pre:17: add its direction, or with "
            "--clamp or --ablate set it (then several: 17,42)."
        ),
    ] = None,
    clamp: Annotated[
        float | None, typer.Option(help="Hold the latents at this activation instead of adding.")
    ] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Set the latents to zero instead of adding.")
    ] = False,
    toward: Annotated[
        str | None,
        typer.Option(
            metavar="CONCEPT",
            help="Instead of a latent: add the mean activation of this concept's words less that of "
            "--away, at --hook-point.",
        ),
    ] = None,
    away: Annotated[
        str | None, typer.Option(metavar="CONCEPT", help="The concept to push away from.")
    ] = None,
    hook_point: Annotated[
        str | None, typer.Option(help="Where --toward acts, such as blocks.3.hook_resid_pre.")
    ] = None,
    concepts: options.ConceptFile = None,
    languages: options.Languages = None,
    strength: Annotated[
        str | None, typer.Option(help="Strengths, comma-separated, in units; 1,2 unless told.")
    ] = None,
    unit: Annotated[
        options.Unit | None,
        typer.Option(
            help="What strength 1 is: the latent's largest activation on background text (the "
            "default), or the usual norm of the hook point. For --toward the difference itself unless "
            "told."
        ),
    ] = None,
    positions: Annotated[
        options.Positions, typer.Option(help="Which tokens are steered.")
    ] = options.Positions.all,
    samples: Annotated[int, typer.Option(help="Continuations of each prompt.", min=1)] = 3,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens of a continuation.", min=1)] = 16,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.", min=0)] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Sample from this many likeliest tokens.", min=1)
    ] = None,
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    background: options.Background = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 32,
    csv: options.Csv = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Continue prompts unsteered and steered, side by side with the same noise.

    Example: tl-ext steer "C'est mardi et je suis" --latent blocks.4.hook_resid_pre:882
    """
    import pandas as pd

    from tl_ext.cli import chosen
    from tl_ext.interventions.edits import Ablate, Clamp
    from tl_ext.models.loading import load_model
    from tl_ext.steering.generation import steer as continue_prompts
    from tl_ext.study.session import background_texts

    chosen.refuse_sources(prompts, dictionaries)
    sets = clamp is not None or ablate
    _one_kind(latent, clamp, ablate, (toward, away, hook_point))
    _no_unit_for(sets, toward, strength, unit)
    strengths = vectors.numbers(strength or "1,2")
    id, which = chosen.latents_named(latent) if latent else ("", [])
    if len(which) > 1 and not sets:
        raise InputError(f"--latent {latent}: one latent is added; --clamp and --ablate take more.")
    pair = [
        vectors.examples(name, concepts, options.split(languages))
        for name in (toward, away)
        if name
    ]
    if latent or dictionaries:
        hooked, loaded = chosen.open_both(
            model, dictionaries, device=device, trust_remote_code=trust_remote_code
        )
    else:
        hooked = load_model(model, device=device, trust_remote_code=trust_remote_code)

    def texts() -> Sequence[str]:
        return background_texts(background, hooked, seed=seed, progress=not quiet)[0]

    edits: dict[float | str, Edit | tuple[()]]
    if clamp is not None:
        edits = {"none": (), f"clamp to {clamp:g}": Clamp(loaded[id], which, clamp)}
    elif ablate:
        edits = {"none": (), "ablate": Ablate(loaded[id], which)}
    else:
        if latent:
            chosen_latent = [(id, which[0])]
            (vector,) = vectors.of_latents(
                hooked, loaded, chosen_latent, unit, texts(), batch_size, quiet
            )
        else:
            assert hook_point is not None
            name = f"{toward} - {away}"
            vector = vectors.of_means(hooked, hook_point, pair, name, unit, texts, batch_size)
        typer.echo(f"Strength 1 is {vector.unit:.4g}, the {vector.unit_name}.", err=True)
        edits = {0.0: ()}
        edits.update((one, vector.at(one)) for one in strengths if one)
    parts = []
    for told, edit in edits.items():
        written = continue_prompts(
            hooked,
            prompts,
            edit,
            max_new_tokens=max_new_tokens,
            samples=samples if temperature else 1,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            positions=positions.value,
            batch_size=batch_size,
            progress=None if quiet else f"{'edit' if sets else 'strength'} {told}",
        )
        columns = {
            "edit" if sets else "strength": told,
            "prompt": [prompts[int(row)] for row in written.prompt],
            "continuation": written.texts,
        }
        parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True)
    chosen.show(table, formats={"strength": "g"})
    chosen.write(table, csv, None, None)


def _one_kind(
    latent: str | None, clamp: float | None, ablate: bool, means: tuple[str | None, ...]
) -> None:
    """Exactly one edit is asked for, and whole."""
    if clamp is not None and ablate:
        raise InputError("--clamp and --ablate are two edits of a latent: give one.")
    if clamp is not None and not math.isfinite(clamp):
        raise InputError(f"--clamp {clamp}: a finite activation is expected.")
    if any(means) and (latent or clamp is not None or ablate):
        raise InputError(
            "--toward, --away and --hook-point make a vector without a latent: give them, or "
            "--latent with --clamp or --ablate where wanted."
        )
    if any(means) and not all(means):
        raise InputError("--toward, --away and --hook-point belong together: give all three.")
    if not any(means) and not latent:
        raise InputError(
            "What steers? Give --latent DICTIONARY:LATENT, or --toward, --away and --hook-point."
        )


def _no_unit_for(
    sets: bool, toward: str | None, strength: str | None, unit: options.Unit | None
) -> None:
    """Units and strengths are of what is added; a largest activation is a latent's."""
    if sets and (strength or unit):
        raise InputError("--strength and --unit are of what is added; --clamp and --ablate set.")
    if toward and unit is options.Unit.largest:
        raise InputError(
            "--unit largest is a latent's; a difference of means has its own length, or 'usual norm'."
        )
