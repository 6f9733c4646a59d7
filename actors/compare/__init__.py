"""`actorum compare`: message passing against locks, measured with everything else equal.

    plan      which cells are measured, how often and in which order (ABBA); what was expected before the first run
    records   what a run leaves on disk: the only thing that statistics, tables and figures may look at
    running   one run: a fresh cluster, load, fault, gates
    load      open and closed loops; latency from the intended send time
    gates     a run's history, invariants and trace; the speed of a wrong run is not reported
    statistics, figures, report: read records, know nothing of clusters
    search    schedules of both designs under a cooperative scheduler
    mistakes  the same mistakes in both designs, and what finds them
    naive     a deliberately bad lock design; nothing outside of this package may import it

Nothing of the library imports this package but the command line, and that only when it is asked to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.compare.report import Report

__all__ = ["read_report"]


def read_report(directory: str | Path) -> Report:
    """The report of the experiment in `directory`; in a notebook it shows itself, and so does `report["latency"]`.

    Raises `RecordError`."""
    from actors.compare import report  # only whoever looks at figures needs what draws them

    return report.read_report(directory)
