"""Patches to send upstream: reading them, verifying them on copies, laying them on checkouts."""
