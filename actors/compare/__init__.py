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
