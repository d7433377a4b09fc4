"""Bugs of ARENA's course files, which no package installs."""
