"""Bugs of SAELens: one module each, with its probe and, where one is possible, its fix."""
