"""How much the loggers "actorum.*" say: of the standard library, one level for each process, changeable at any time.

"actorum.raft" tells of roles and members (INFO) and of what was refused or ignored (DEBUG), "actorum.snapshots" of
snapshots, "actorum.events" of listeners that failed.  Below its level a call costs one comparison, which the standard
library remembers.

A peer's process has no handlers of its own.  When a level is set there, one that writes to standard error is added: the
terminal of `actorum up`.  A program that has configured logging is left as it is.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from actors.errors import WrongArguments

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_ROOT: Final = logging.getLogger("actorum")
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s [%(process)d] %(message)s"


def checked_level(level: str) -> str:
    """The level as the library writes it.  Raises `WrongArguments` if there is none of that name."""
    if level.upper() not in LEVELS:
        raise WrongArguments(
            f"there is no logging level {level!r}", why=f"known are {', '.join(LEVELS)}", fix=f"one of {LEVELS[:3]}"
        )
    return level.upper()


def log_level() -> str:
    """The level in force in this process."""
    return logging.getLevelName(_ROOT.getEffectiveLevel())


def set_log_level(level: str) -> None:
    """From now on.  Raises `WrongArguments`."""
    name = checked_level(level)
    if not _ROOT.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(_FORMAT))
        _ROOT.addHandler(handler)
    _ROOT.setLevel(name)
