"""`python -m actors` is `actorum`."""

from __future__ import annotations

from actors.cli import main

if __name__ == "__main__":
    main()
