"""All mutants."""

from __future__ import annotations

from tests.conformance.mutants.computing import COMPUTING
from tests.conformance.mutants.contents import CONTENTS
from tests.conformance.mutants.edits import EDITS
from tests.conformance.mutants.planting import Mutant
from tests.conformance.mutants.runs import RUNS

MUTANTS: tuple[Mutant, ...] = (*EDITS, *CONTENTS, *COMPUTING, *RUNS)
