"""The exploration, in the order of the road.

`session` opens what a study reads, `plan` names it, `analyses` holds one module per analysis, `run` does
them all and writes the page, `published` sets the exploration's own numbers beside them. `calls` are the
same analyses for a notebook. What an analysis needs beyond one look lies in `collecting`, `tabulating`
and `drawing`, after its three functions.
"""
