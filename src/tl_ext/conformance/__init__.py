"""Whether a hooked model does what its hook points say.

Each check cites a clause of docs/behaviour.md, is asked of tiny random models that Hypothesis draws, and
says of what fails where, by how much, in which smallest example, with a script that shows it without this
package.
"""

from __future__ import annotations
