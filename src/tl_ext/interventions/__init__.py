"""Edits of activations on their way through the model.

`edits` says what an edit is and does to an activation; `applied` puts edits into a model for as long
as a context lasts.
"""

from __future__ import annotations

from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import Ablate, Add, Clamp, Edit, Splice

__all__ = ["Ablate", "Add", "Clamp", "Edit", "Splice", "applied"]
