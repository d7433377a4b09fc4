"""The parts of the study as calls for a notebook: each gives a table and a figure.

They take a model and dictionaries as `load_model` and `load_dictionaries` give them. All are public
names of `tl_ext`.
"""
