"""What every latent does on background text: rates, distributions, and where it is highest.

One pass for all dictionaries, which the readings and the latents' dashboards share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from tl_ext.study.plan import Plan

if TYPE_CHECKING:
    from tl_ext.report.page import Figure
    from tl_ext.study.session import Session

NAME = "background"
CONTEXTS = 8
WINDOW = (14, 6)


def settings() -> dict[str, object]:
    """What results depend on besides the session."""
    return {"contexts": CONTEXTS, "window": WINDOW}


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Read the background; what only continuing an interrupted stream needs is left out."""
    from tl_ext.dictionaries.examples import latent_examples

    found = latent_examples(
        session.model,
        session.dictionaries,
        session.background,
        n=CONTEXTS,
        window=WINDOW,
        max_tokens=session.plan.max_tokens,
        long_texts="cut",
        batch_size=session.batch_size,
        progress=session.bar("background"),
    )
    return {name: one for name, one in found.tensors.items() if not name.endswith("/norms")}


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """Nothing: `examples/` beside the page holds every latent."""
    return {}


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Nothing is drawn; the dashboards are."""
    return {}
