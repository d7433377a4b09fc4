"""Bugs of TransformerLens: one module each, with its probe and, where one is possible, its fix."""
