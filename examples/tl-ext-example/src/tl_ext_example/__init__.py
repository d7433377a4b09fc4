"""A plugin for tl_ext to start from."""
