"""A hooked model and its token batches.

`loading` boots a `TransformerBridge`, `tokens` builds every token batch of this package, `hook_points`
finds hook points by name and puts functions on them, `activation` teaches upstream what the plugins
bring.
"""
