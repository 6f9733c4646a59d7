"""Run inside a broken tree: search given bounds for a violation, and say what was found as JSON.

    python -m tests.mutants.search BOUNDS MOST

`raft_core` is whatever stands first on the path.
"""

from __future__ import annotations

import json
import sys

from raft_core.verify.exploration import explore
from raft_core.verify.situations import Bounds


def search(bounds: Bounds, most: int) -> dict[str, object]:
    """What was found, by how many actions.  A broken core may fall over its own state: that is a find, too."""
    try:
        explored = explore(bounds, most)
    except Exception as error:
        return {"caught": f"{type(error).__name__}: {error}"[:120], "steps": 0}
    caught = "" if explored.violation is None else explored.violation.rule
    return {"caught": caught, "steps": len(explored.schedule), "situations": explored.situations}


if __name__ == "__main__":
    print(json.dumps(search(Bounds(**json.loads(sys.argv[1])), int(sys.argv[2]))))
