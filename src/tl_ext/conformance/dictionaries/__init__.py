"""Whether a dictionary computes what it says, and stands in a model without harm.

`subject` is what is checked, `checks` is what is asked, `sequences` asks it in any order, `api` asks it all.
"""

from __future__ import annotations
