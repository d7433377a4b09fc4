"""A page in the shape of the study, from made-up numbers: for tests, and to look at."""

from __future__ import annotations

import math
import random

import pandas as pd

from tl_ext.report import (
    Axis,
    Bars,
    Continuation,
    Dashboard,
    Dashboards,
    Figure,
    Heatmap,
    Histogram,
    Lines,
    Marker,
    Page,
    Panels,
    Paragraph,
    SampleRow,
    Samples,
    Scatter,
    Section,
    Series,
    ShownContext,
    Stems,
    TableMark,
    TokenText,
    TokenWeights,
)

D_LATENT = 24_576
HOSTILE = (
    "<script>alert('x')</script> & \"quoted\" </script><!-- <img src=x onerror=alert(1)> "
    "\u2028 \u202e javascript:alert(1) %{x} $x^2$ \\u003c \ud800"
)


def latents(seed: int, *, active: int = 300, size: float = 25.0) -> list[float]:
    """A dense row of latents [d_latent], few of them active and three of them strongly."""
    draw = random.Random(seed)
    row = [0.0] * D_LATENT
    for index in draw.sample(range(D_LATENT), active):
        row[index] = draw.expovariate(1.0) * size / 40
    for rank, index in enumerate(draw.sample(range(D_LATENT), 3)):
        row[index] = size * (1 - 0.28 * rank)
    return row


def stems(seed: int, title: str, *, names: tuple[str, ...] = ("happy (en)",)) -> Stems:
    """Stems of one or more series."""
    series = [Series.sparse(name, latents(seed * 7 + i)) for i, name in enumerate(names)]
    return Stems(series=series, length=D_LATENT, title=title)


def dashboard(*, texts: tuple[str, ...] = ("I am so happy to see you", "a happy end")) -> Dashboard:
    """A latent that is high at the third word of each text and beside it."""
    return Dashboard(
        title="L7 #2392",
        note="`blocks.7.hook_resid_pre`, latent 2392",
        facts=[("fires on", "0.42 % of 120,000 tokens"), ("largest", "12.5")],
        edges=[1, 2, 4, 8, 16],
        counts=[30, 80, 25, 0],
        markers=(Marker(value=1.2, label="5%"), Marker(value=2.5, label="50%")),
        weights=(
            TokenWeights("Raises most", [" happy", " glad", "我"], [3.2, 2.5, 0.4]),
            TokenWeights("Lowers most", [" sad", "\n", ""], [-2.2, -1.5, -0.4]),
        ),
        contexts=tuple(
            ShownContext(
                [f" {word}" for word in text.split()],
                [None, 0.0, 3.2, 0.4, *[0.0] * len(text.split())][: len(text.split())],
                min(2, len(text.split()) - 1),
                f"text {number}",
            )
            for number, text in enumerate(texts)
        ),
        link="https://www.neuronpedia.org/gpt2-small/7-res-jb/2392",
    )


def cosines(n: int, seed: int = 0, *, undefined: int | None = None) -> list[list[float]]:
    """A symmetric table with ones on its diagonal; a latent without direction gives NaN."""
    draw = random.Random(seed)
    directions = [[draw.gauss(0.7 if i % 3 else 0, 1) for _ in range(6)] for i in range(n)]

    def cosine(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    table = [[cosine(a, b) for b in directions] for a in directions]
    for i in range(n if undefined is not None else 0):
        table[i][undefined or 0] = table[undefined or 0][i] = math.nan
    return table


def page(*, layers: int = 12, wide: int = 60) -> Page:
    """Every mark, and text that would do harm if it were not escaped."""
    small = ["2392", "9840", "21753", "13871", "23885", "14068", "17702", "21594", "2887"]
    groups = [f"layer {i * layers // wide}" for i in range(wide)]
    names = [f"L{i * layers // wide} · {1000 + 37 * i}" for i in range(wide)]
    tokens = ["J", "'", "ai", " obten", "u", " la", " promotion", " que", " je", " vou", "lais"]
    tokens += [
        " et",
        " je",
        " suis",
        " he",
        "ure",
        "ux",
        ".",
        "\n",
        " 快乐",
        " سعيد",
        "<b>",
        "\u202e",
    ]
    chances = [None, *(round(abs(math.sin(i * 1.7)) ** 2, 4) for i in range(1, len(tokens)))]
    draw = random.Random(2)
    background = [draw.gauss(0.1, 0.12) for _ in range(2_000)]
    table = pd.DataFrame(
        {
            "rank": range(1, 41),
            "latent": [2392 + 511 * i for i in range(40)],
            "activation": [24.31 / (i + 1) for i in range(40)],
            "firing rate": [math.nan if i == 3 else 0.013 * (i + 1) for i in range(40)],
            "text": [
                HOSTILE.replace("\ud800", "") if i == 0 else f"I'm so happy, n° {i}"
                for i in range(40)
            ],
            "Neuronpedia": [
                "javascript:alert(1)"
                if i == 1
                else f"https://neuronpedia.org/gpt2-small/7-res-jb/{i}"
                for i in range(40)
            ],
        }
    )
    depth = list(range(layers))
    return Page(
        title="Emotions in two languages <i>in</i> a small model",
        subtitle="What `gpt2-small` computes at the word happy, and whether heureux shares it. "
        "Made-up numbers in the shape of the study.",
        sections=(
            Section(
                id="one-layer",
                title="Latents at the word happy",
                lead="Which latents of the dictionary at `blocks.7.hook_resid_pre` are active?",
                blocks=(
                    Figure(
                        stems(1, "Activations at the word happy, layer 7"),
                        "Mean over 30 texts; the three highest latents are named.",
                        may="These latents are the most active at this word, in these texts.",
                        may_not=(
                            "That a latent means happiness: it may fire on the frame, or on any "
                            "adjective there.",
                            "That latents without a name are inactive.",
                        ),
                        png="figures/happy 7.png",
                        csv="tables/happy.csv",
                    ),
                    Figure(
                        TableMark(title="The most active latents", data=table, first=12),
                        "Firing rate: share of background tokens on which the latent is active.",
                        csv="tables/top.csv",
                    ),
                    Figure(dashboard(), "One latent on background text."),
                    Figure(
                        Dashboards(
                            title="Latents on background text",
                            latents=[
                                dashboard(),
                                dashboard(texts=(HOSTILE, "x" * 200, "سعيد جدا")),
                            ],
                            groups=["happy", HOSTILE],
                        ),
                        "Darker is higher.",
                    ),
                    Figure(
                        Panels(
                            title="Activations at the word happy, by layer",
                            panels=[stems(i, f"Layer {i}") for i in range(layers)],
                        ),
                        "Heights differ between layers: each panel has its own scale.",
                        may_not="That a layer with higher stems holds more of the concept.",
                    ),
                ),
            ),
            Section(
                id="similarity",
                title="How similar are they?",
                lead="Cosines of decoder directions, with random live latents as contrast.",
                blocks=(
                    Figure(
                        Heatmap(
                            title="Cosines within layer 7",
                            values=cosines(9, undefined=7),
                            rows=small,
                            columns=small,
                            row_groups=["happy"] * 3 + ["random"] * 6,
                            column_groups=["happy"] * 3 + ["random"] * 6,
                            x="latent",
                            y="latent",
                        ),
                        "An undefined cosine (a zero direction) is grey.",
                    ),
                    Figure(
                        Heatmap(
                            title="Cosines across layers",
                            values=cosines(wide),
                            rows=names,
                            columns=names,
                            row_groups=groups,
                            column_groups=groups,
                        ),
                    ),
                    Figure(
                        Histogram(
                            title="The cosine of a pair among random pairs",
                            values=background,
                            markers=(Marker(value=0.553, label="2392 and 21753: 0.553"),),
                            x="cosine",
                            y="pairs",
                        ),
                    ),
                ),
            ),
            Section(
                id="languages",
                title="Happy and heureux",
                blocks=(
                    Paragraph("Text from a prompt: " + HOSTILE, kind="warning"),
                    Figure(TokenText(title="Token probabilities", tokens=tokens, values=chances)),
                    Figure(
                        stems(5, "happy against heureux", names=("happy (en)", "heureux (fr)")),
                    ),
                    Figure(
                        Stems(
                            title="The same, set against each other",
                            series=stems(5, "", names=("happy (en)", "heureux (fr)")).series,
                            length=D_LATENT,
                            arrangement="mirrored",
                        ),
                    ),
                    Figure(
                        Panels(
                            title="Both words in every attention layer",
                            panels=[
                                stems(40 + i, f"Layer {i}", names=("happy (en)", "heureux (fr)"))
                                for i in range(layers)
                            ],
                        ),
                    ),
                    Figure(
                        Lines(
                            title="Overlap of the two languages by layer",
                            series=[
                                Series(
                                    name,
                                    depth,
                                    [0.1 + k * 0.1 + 0.02 * i for i in depth],
                                    [0.05 + k * 0.1 + 0.02 * i for i in depth],
                                    [0.15 + k * 0.1 + 0.02 * i for i in depth],
                                )
                                for k, name in enumerate(("happy", "sad", "excited"))
                            ],
                            x="layer",
                            y=Axis(title="overlap", unit="Jaccard"),
                        ),
                    ),
                    Figure(
                        Bars(
                            title="Shared and private latents",
                            labels=["happy", "sad", "excited"],
                            series={"shared": [12, 9, 14], "private": [30, 41, 22]},
                            y="latents",
                        ),
                    ),
                    Figure(
                        Scatter(
                            title="Activation in English against French",
                            series=[
                                Series(
                                    "latents",
                                    [draw.expovariate(1) for _ in range(80)],
                                    [draw.expovariate(1) for _ in range(80)],
                                    labels=[f"latent {i}" for i in range(80)],
                                )
                            ],
                            x="English",
                            y="French",
                            diagonal=True,
                        ),
                    ),
                ),
            ),
            Section(
                id="steering",
                title="Steering a French prompt with an English latent",
                blocks=(
                    Figure(
                        Samples(
                            title="The first samples by seed",
                            conditions=("unsteered", "strength 2", "strength 4"),
                            rows=[
                                SampleRow(
                                    prompt=prompt,
                                    continuations=tuple(
                                        Continuation(text=text, note=f"log-probability {-2 - k}")
                                        for k, text in enumerate(texts)
                                    ),
                                )
                                for prompt, texts in (
                                    (
                                        "Today is Tuesday and I am",
                                        (
                                            " to have achieved this success.",
                                            " so happy to\nbe here with my friends!",
                                            HOSTILE,
                                        ),
                                    ),
                                    (
                                        "Today is Tuesday and I am",
                                        (" late again.", " glad.", " happy happy happy happy"),
                                    ),
                                    (
                                        "C'est mardi et je suis",
                                        (" fatigué.", " très heureux.", " heureux 快乐 سعيد"),
                                    ),
                                )
                            ],
                        ),
                        "Not chosen: the first by seed.",
                        may="These are what the model wrote.",
                        may_not="How often it writes so: see the table.",
                    ),
                ),
            ),
        ),
        summary={
            "model": "gpt2-small",
            "dictionaries": ["blocks.7.hook_resid_pre", "blocks.7.attn.hook_z"],
            "seed": 0,
            "versions": {"transformer-lens": "4.3.0", "sae-lens": None, "torch": "2.13.0"},
            "fixes": [],
            "release": "https://huggingface.co/jbloom/GPT2-Small-SAEs-Reformatted",
        },
        footer="Text from prompts and models is shown as it is.",
    )
