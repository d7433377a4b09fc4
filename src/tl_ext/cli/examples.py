"""`tl-ext examples`: on which texts latents are highest, from a file or a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_ext.cli import options
from tl_ext.errors import InputError

if TYPE_CHECKING:
    from tl_ext.dictionaries.example_records import LatentExamples


def _page(path: Path | None) -> Path | None:
    """The name of a page, told to be wrong before anything is computed."""
    if path is not None and path.suffix.lower() != ".html":
        raise InputError(f"--figure {path}: a name ending in .html is expected.")
    return path


def examples(
    latents: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DICTIONARY:LATENT]...",
            help="Latents to show, such as blocks.3.hook_resid_pre:17,42.",
        ),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="A text file, one text a line (see --whole).")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:SPLIT]",
            help="A data set that Hugging Face's datasets loads, streamed; its split, train if none "
            "is named.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write into, every latent of every dictionary. Interrupted, the same "
            "command continues. Without --texts and --dataset, what lies there is shown."
        ),
    ] = None,
    column: Annotated[str, typer.Option(help="The column of a data set that is text.")] = "text",
    whole: Annotated[
        bool, typer.Option("--whole", help="The file is one text, read window by window.")
    ] = False,
    first: Annotated[
        int | None, typer.Option(help="Read only so many texts.", min=1, show_default=False)
    ] = None,
    contexts: Annotated[
        int, typer.Option("-n", "--contexts", help="Texts per latent.", min=1)
    ] = 10,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens read at once; the model's context, at most 256, if not given."),
    ] = None,
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    layer: options.Layer = None,
    batch_size: options.BatchSize = 32,
    figure: Annotated[
        Path | None,
        typer.Option(help="Write the latents' dashboards to this .html file.", callback=_page),
    ] = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Find the texts on which latents are highest, how often they fire and how strongly.

    Examples: tl-ext examples --texts corpus.txt --out examples

    tl-ext examples blocks.3.hook_resid_pre:17 --out examples --figure latent.html
    """
    from tl_ext.cli import chosen
    from tl_ext.dictionaries.example_records import LatentExamples
    from tl_ext.dictionaries.examples import latent_examples

    chosen.refuse_sources(latents or (), dictionaries)
    shown: dict[str, list[int]] = {}
    for given in latents or ():
        id, which = chosen.latents_named(given)
        shown.setdefault(id, []).extend(which)
    if figure is not None and not shown:
        raise InputError("--figure draws dashboards: name the latents, DICTIONARY:LATENT.")
    source = _source(texts, dataset, first)
    if source is None:
        if out is None:
            raise InputError(
                "Which texts? Give --texts FILE or --dataset NAME, or --out with a folder to show from."
            )
        found = LatentExamples.load(out)
    else:
        if out is None and not shown:
            raise InputError(
                "Give --out FOLDER to keep what is found, or latents to show, or both."
            )
        hooked, loaded = chosen.open_both(
            model, dictionaries, layer=layer, device=device, trust_remote_code=trust_remote_code
        )
        found = latent_examples(
            hooked,
            loaded,
            source,
            n=contexts,
            latents=shown if out is None else None,
            column=column,
            file_texts="whole" if whole else "lines",
            max_tokens=max_tokens,
            batch_size=batch_size,
            out=out,
            progress=None if quiet else "examples",
        )
    _show(found, shown, contexts, figure)
    if out is not None and source is not None:
        _told(found, out)


def _source(texts: Path | None, dataset: str | None, first: int | None) -> Any:
    """What is read: a path, rows of a data set, the first of either; None: nothing."""
    from itertools import islice

    from tl_ext.activations.stream import TextReader

    if texts is not None and dataset is not None:
        raise InputError("--texts and --dataset were given: read one of them at a time.")
    if dataset is not None:
        source: Any = _data_set(dataset)
        return source if first is None else source.take(first)
    if texts is None or first is None:
        return texts
    return (text for _, text in islice(TextReader(texts), first))


def _data_set(name: str) -> Any:
    """A data set of the hub or of a folder, streamed."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(
            "--dataset needs Hugging Face's datasets: pip install datasets."
        ) from error
    # A colon in a folder's name is not ours.
    name, _, split = (name, "", "") if Path(name).is_dir() else name.partition(":")
    try:
        return load_dataset(name, split=split or "train", streaming=True)
    except (OSError, ValueError) as error:
        raise InputError(f"The data set {name} cannot be read: {error}") from error


def _show(
    found: LatentExamples, shown: dict[str, list[int]], contexts: int, figure: Path | None
) -> None:
    """Print the latents' dashboards, and write them where a figure is asked for."""
    from tl_ext.cli.dashboards import print_dashboard
    from tl_ext.report.dashboard import Dashboards
    from tl_ext.study.calls.dashboards import latent_dashboard

    marks = [
        latent_dashboard(found, id, latent, contexts=contexts)
        for id, which in shown.items()
        for latent in which
    ]
    for mark in marks:
        print_dashboard(mark)
    if figure is not None:
        one = marks[0] if len(marks) == 1 else Dashboards(title="Latents", latents=marks)
        one.save(figure)


def _told(found: LatentExamples, out: Path) -> None:
    """Say what was read and where it lies."""
    typer.echo(
        f"Read {found.texts:,} texts, {found.tokens:,} tokens, for {len(found)} dictionaries."
    )
    for name in ("contexts.parquet", "statistics.parquet", "tensors.safetensors"):
        typer.echo(f"  {out / name}")
