"""Edits of activations on their way through the model.

`edits` says what an edit is and does to an activation; `applied` puts edits into a model for as long
as a context lasts.
"""
