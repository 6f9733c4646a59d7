"""Run inside a broken tree: search given bounds for a violation, and say what was found as JSON.

    python -m tests.mutants.search BOUNDS MOST

`raft_core` is whatever stands first on the path.
"""

from __future__ import annotations

import json
import sys
from time import process_time

from raft_core.verify.exploration import explore
from raft_core.verify.situations import Bounds


def search(bounds: Bounds, most: int) -> dict[str, object]:
    """What was found, by how many actions.  A broken core may fall over its own state: that is a find, too."""
    found: dict[str, object] = {"caught": "", "steps": 0, "situations": 0}
    try:
        explored = explore(bounds, most)
    except Exception as error:
        found["caught"] = type(error).__name__
    else:
        found["situations"], found["steps"] = explored.situations, len(explored.schedule)
        if explored.violation is not None:
            found["caught"] = explored.violation.rule
    return {**found, "seconds": process_time()}


if __name__ == "__main__":
    print(json.dumps(search(Bounds(**json.loads(sys.argv[1])), int(sys.argv[2]))))
