"""Steering: `vectors` are directions with a unit, `generation` writes text under edits, `scores` judges
what was written, `words` asks how probable given words are.
"""
