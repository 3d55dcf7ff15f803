"""Starts a stand-in interpreter in the place of a runtime's, confined, and prints what it got.

A process of its own, so that it can be anybody's and have a secret in its environment:
`python driver.py FACTS`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(place: Path) -> None:
    from qgate.runtimes.confined import choice
    from qgate.runtimes.confined.child_view import Reach
    from qgate.runtimes.confined.choice import Child, decide
    from qgate.runtimes.host import Host, HostSettings
    from qgate.runtimes.launch import environment_for

    facts = json.loads(place.read_text())
    choice.NAMES = (facts["tool"],)  # type: ignore[misc]
    stand_in = place.with_name("stand-in")
    text = Path(__file__).with_name("hostile_interpreter").read_text()
    facts["parent"], facts["python"] = os.getpid(), sys.executable
    text = text.replace("PYTHON", sys.executable, 1).replace("FACTS = {}", f"FACTS = {facts!r}", 1)
    stand_in.write_text(text)
    stand_in.chmod(0o755)
    child = Child(python=str(stand_in), environment=environment_for(str(stand_in)))
    confinement = decide("auto", [child])
    got = {}
    if confinement.tool is not None:
        settings = HostSettings(
            runtime="fake",
            python=str(stand_in),
            confinement=confinement,
            reach=Reach(reads=(Path(facts["artifact"]), Path(facts["store"]))),
        )
        with Host(settings) as host:
            got = host.call("describe", None)
    print(json.dumps({"line": confinement.line(), "got": got}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
