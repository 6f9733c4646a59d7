"""Stable storage: where the persistent state of Figure 2 lives (current_term, voted_for, log[]).

`port` says what a storage is and how it fails; `memory` and `sqlite` are two of them; `conformance` is the suite that
any other one can be run against.  Nothing is imported here, so that naming one of them does not load the others.
"""
