"""Whether a hooked model does what its hook points say, and a dictionary stands in it without harm.

Each check cites a clause of docs/behaviour.md, is asked of tiny random models that Hypothesis draws, and
says of what fails where, by how much, in which smallest example, with a script that shows it without this
package.

```python
from tl_ext.conformance import check_dictionary, check_model

print(check_model(bridge))
print(check_dictionary(sae, bridge, tokens))
```
"""

from __future__ import annotations

from tl_ext.conformance.api import check_model, parametrize_with_checks
from tl_ext.conformance.checking import Capability, Check, Findings, Violation
from tl_ext.conformance.checks import MODEL_CHECKS
from tl_ext.conformance.dictionaries.api import check_dictionary
from tl_ext.conformance.dictionaries.checks import DICTIONARY_CHECKS
from tl_ext.conformance.report import Report, Result, Verdict
from tl_ext.conformance.running import run_spec
from tl_ext.conformance.spec import DEFAULT, ConformanceSpec

__all__ = [
    "DEFAULT",
    "DICTIONARY_CHECKS",
    "MODEL_CHECKS",
    "Capability",
    "Check",
    "ConformanceSpec",
    "Findings",
    "Report",
    "Result",
    "Verdict",
    "Violation",
    "check_dictionary",
    "check_model",
    "parametrize_with_checks",
    "run_spec",
]
