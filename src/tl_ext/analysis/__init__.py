"""Tensors to tables: no model, no files, no plots.

Every function takes tensors and returns a pandas table, so that each number of a study can be
recomputed and tested by itself.
"""
