"""Schedules of both designs, searched: who goes on when, chosen by a seed, until something breaks.

schedule   what a seed decides: at most two preemptions, at most one death
waiting    who waits for whom; a circle is a deadlock
threads    the twin's threads, locks and conditions under a schedule
mailboxes  the actors' mailboxes under one
trial      one run of either design, and the oracle
naive      one run of the deliberately naive design
hunting    schedules until a mistake is found
running    everything, written to `search.json`
"""

from __future__ import annotations

from actors.compare.search.hunting import Row
from actors.compare.search.running import FILE, QUICK, how_many, load, run

__all__ = ["FILE", "QUICK", "Row", "how_many", "load", "run"]
