"""`python -m qgate.calibrate DIR`: the command `qgate calibrate`, of which an exit code 4 is 2."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code; the arguments are this process's where None."""
    from qgate.cli.main import USAGE
    from qgate.cli.main import main as run

    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = run(["calibrate", *arguments], prog="python -m qgate")
    except SystemExit as end:  # argparse's, for --help or a wrong argument
        code = end.code if isinstance(end.code, int) else 0
    return 2 if code == USAGE else code


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory: as in `qgate/__main__.py`
    sys.exit(main())
