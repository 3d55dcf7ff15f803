"""`python -m qgate`: the same as the command `qgate`."""

from __future__ import annotations

from qgate.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(prog="python -m qgate"))
