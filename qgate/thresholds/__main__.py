"""`python -m qgate.thresholds`: deprecated, it runs the command `qgate schema`."""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    sys.stderr.write("python -m qgate.thresholds is deprecated. Write: qgate schema\n")
    # a process: this room knows neither runtimes nor the command line
    command = [sys.executable, "-P", "-m", "qgate", "schema"]
    raise SystemExit(subprocess.run(command, check=False).returncode)
