"""One module per analysis, each with three functions.

- `collect(session, needs)` runs the model and returns tensors, which are stored so that a rerun
  continues. `needs` holds the tensors of the analyses its spec names.
- `tabulate(tensors, plan)` turns stored tensors, its own and those it needs, by analysis name, into
  tables. It is pure.
- `draw(tables, plan)` turns tables into figures by file name.
"""
