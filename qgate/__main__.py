"""`python -m qgate`: the same as the command `qgate`.

Python puts the working directory before all other places for `-m`, and looks for `qgate` itself
there: a `qgate.py` in it runs instead of this file, which nothing here can prevent. The command
`qgate`, or `python -P -m qgate`, does not look there. What this file prevents is that anything else
is imported from there: another project's, or a stranger's, `numpy.py`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]
    from qgate.cli.main import main

    raise SystemExit(main(prog="python -m qgate"))
