"""One module per analysis, each with three functions.

- `collect(session, needs)` runs the model and returns tensors, which are stored so that a rerun
  continues. `needs` holds the tensors of the analyses its spec names.
- `tabulate(tensors, plan)` turns stored tensors, its own and those it needs, by analysis name, into
  tables. It is pure.
- `draw(tables, plan)` turns tables into figures by file name.

`settings()`, where there is one, says what `collect` depends on besides the session and `needs`. What goes
beyond one look lies in `study.collecting`, `study.tabulating` and `study.drawing`.
"""
