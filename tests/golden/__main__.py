"""`python -m tests.golden [--rewrite] [NAME...]`: show where scripts and core differ, or write the scripts anew.

A name is a script's, with or without `.txt`; no name means all of them.  A rewritten script is to be read before it is
committed: the diff is what changed in the behaviour of the core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from raft_core.verify.script import ScriptError, ScriptViolation
from tests.golden.golden import FOLDER, difference, rewrite, scripts


def main(arguments: Sequence[str], folder: Path = FOLDER) -> int:
    """Print what differs or was rewritten; 0 if all is well, 1 if a script differs, 2 if one cannot be played."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--rewrite", action="store_true", help="write the answers anew")
    options = parser.parse_args(arguments)
    chosen = [folder / f"{name.removesuffix('.txt')}.txt" for name in options.names] or scripts(folder)
    return max((_rewritten(script) if options.rewrite else _compared(script) for script in chosen), default=0)


def _compared(script: Path) -> int:
    try:
        found = difference(script)
    except (ScriptError, ScriptViolation, OSError) as problem:
        print(problem)
        return 2
    print(found, end="")
    return 1 if found else 0


def _rewritten(script: Path) -> int:
    try:
        if rewrite(script):
            print(f"{script.name}: rewritten")
    except (ScriptError, ScriptViolation, OSError) as problem:
        print(problem)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
