"""Stable storage: where the persistent state of Figure 2 lives (current_term, voted_for, log[]), and snapshots.

`port` says what storages are and how they fail; `memory`, `journal` and `sqlite` keep logs, `memory_snapshots` and
`snapshots` what replaces their beginnings (paper 7), and `disk` puts one of each together.  `conformance` and
`snapshots_conformance` are the suites that any other one can be run against.  Nothing is imported here, so that naming
one of them does not load the others.
"""
