"""Dictionaries: sparse autoencoders and transcoders, from activations to latents.

`dictionary` says what a dictionary is, `sparse` computes one, `folders` reads SAELens' folder format,
`saelens` reads its releases, `loading` finds dictionaries by source, `quality` measures how well one
fits a model, `neuronpedia` links a latent to its public page.
"""
