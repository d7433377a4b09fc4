"""Steering: `vectors` are directions with a unit; `generation` writes text under edits, many
`conditions` at once, and `generations` is its record; `scores` judges what was written, `words` asks how
probable given words are, `divergence` what edits do to neutral text, and `output_scores` how far a latent
can move the output at all. `sweep` puts vectors over strengths beside their controls.
"""
