"""`tl-ext steer`: continue prompts with a latent's direction added."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_ext.cli import options


def steer(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to continue.")],
    latent: Annotated[
        str,
        typer.Option(help="DICTIONARY:LATENT, such as blocks.3.hook_resid_pre:17."),
    ],
    strength: Annotated[
        str,
        typer.Option(
            help="Strengths, comma-separated, in multiples of the latent's largest activation on "
            "background text."
        ),
    ] = "1,2",
    positions: Annotated[
        str, typer.Option(help="Which tokens are steered: all, prompt or generated.")
    ] = "all",
    samples: Annotated[int, typer.Option(help="Continuations of each prompt.", min=1)] = 3,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens of a continuation.", min=1)] = 16,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.", min=0)] = 1.0,
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    background: options.Background = None,
    seed: options.Seed = 0,
    csv: options.Csv = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
) -> None:
    """Continue prompts unsteered and steered, side by side with the same noise.

    Example: tl-ext steer "C'est mardi et je suis" --latent blocks.3.hook_resid_pre:17 --strength 1,2
    """
    import pandas as pd

    from tl_ext.cli import chosen
    from tl_ext.dictionaries.reading import background_statistics
    from tl_ext.errors import InputError
    from tl_ext.steering.generation import steer as continue_prompts
    from tl_ext.steering.vectors import latent_vector
    from tl_ext.study.session import background_texts

    id, _, number = latent.rpartition(":")
    try:
        index, strengths = int(number), [float(one) for one in strength.split(",")]
    except ValueError:
        raise InputError(
            f"--latent {latent!r} --strength {strength!r}: DICTIONARY:LATENT and numbers are expected."
        ) from None
    hooked, loaded = chosen.open_both(
        model, dictionaries, device=device, trust_remote_code=trust_remote_code
    )
    dictionary = loaded[id]
    texts, _ = background_texts(background, hooked, seed=seed, progress=True)
    statistics = background_statistics(
        hooked, {id: dictionary}, texts, max_tokens=int(hooked.cfg.n_ctx), progress="background"
    )[id]
    vector = latent_vector(dictionary, index, statistics)
    parts = []
    for one in (0.0, *strengths):
        written = continue_prompts(
            hooked,
            prompts,
            () if one == 0 else vector.at(one),
            max_new_tokens=max_new_tokens,
            samples=samples if temperature else 1,
            temperature=temperature,
            seed=seed,
            positions=positions,  # type: ignore[arg-type]
        )
        parts.append(
            pd.DataFrame(
                {
                    "strength": one,
                    "prompt": [prompts[int(row)] for row in written.prompt],
                    "continuation": written.texts,
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    chosen.show(table, formats={"strength": "g"})
    chosen.write(table, csv, None, None)
