"""Run inside a broken core: look for a violation by simulation, for a limited time, and say what was found as JSON.

    python -m tests.mutants.hunt SECONDS

`raft_core` is whatever stands first on the path.  Seeds take turns with three, four and five servers.
"""

from __future__ import annotations

import json
import sys
from itertools import count
from time import monotonic

from raft_core.verify.simulation import simulate

STEPS = 4_000
"""Of one seed: many short runs find more than few long ones."""


def hunt(seconds: float) -> dict[str, object]:
    """What was found, after how many steps."""
    end, steps = monotonic() + seconds, 0
    for seed in count():
        servers = (3, 5, 3, 4)[seed % 4]
        try:
            report = simulate(seed, servers, STEPS)
        except Exception as error:  # a broken core may fall over its own state: that is a find, too
            return {
                "caught": f"{type(error).__name__}: {error}"[:120],
                "seed": seed,
                "servers": servers,
                "steps": steps,
            }
        steps += report.steps
        if report.violation is not None:
            return {"caught": report.violation.rule, "seed": seed, "servers": servers, "steps": steps}
        if monotonic() > end:
            return {"caught": "", "seed": seed, "servers": servers, "steps": steps}
    raise AssertionError("seeds never end")


if __name__ == "__main__":
    print(json.dumps(hunt(float(sys.argv[1]))))
