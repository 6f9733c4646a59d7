"""Search, and renew a page with what was found.

python -m actors.compare.search DIRECTORY [--schedules 300] [--seed 0] [--page docs/explanation/schedule-search.md]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from actors.compare.search.page import with_results
from actors.compare.search.running import run


def main() -> None:
    """Search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help='a part of "design: mistake"')
    parser.add_argument("--page", type=Path, help="the page whose tables are renewed")
    asked = parser.parse_args()
    rows = run(asked.directory, asked.schedules, asked.seed, _tell, asked.only)
    if asked.page:
        asked.page.write_text(with_results(asked.page.read_text("utf-8"), rows), "utf-8")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
