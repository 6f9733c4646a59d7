"""Tests of a user's own machine: seeded chaos in the deterministic engine, and what must hold afterwards.

`actors.pytest_plugin` gives this to pytest as fixtures; nothing here needs pytest, and nothing is imported before use.
"""
