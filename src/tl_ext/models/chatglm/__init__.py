"""ChatGLM2, ChatGLM3 and GLM-4 in their original checkpoint layout, on transformers' GLM.

The original modelling code and transformers' `GlmForCausalLM` compute the same function of
differently laid out weights. `configuration` reads the original config.json, `conversion` lays the
weights out while they are loaded and back when they are saved, `modeling` gives the classes their
published names, `registration` makes transformers know them, and `refusals` says what cannot be
represented.
"""
