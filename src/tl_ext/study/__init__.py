"""The exploration, in the order of the road.

`session` opens what a study reads, `plan` names it, `analyses` holds one module per analysis (collect,
tabulate, draw), `steering` and `published` the two parts that are no analyses, `run` does it all and
writes the page.
"""
