"""What GitHub's runner does with a script, as far as the files here rely on it.

Scripts run as the runner starts them; outputs and commands are read back by its rules
(actions/runner 2.336: `FileCommandManager.cs`, `ActionCommand.cs`).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
ACTION = GITHUB / "actions" / "qgate" / "action.yml"
WORKFLOWS = tuple(sorted((GITHUB / "workflows").glob("*.yml")))
_BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")


def evaluate(expression: str, context: Mapping[str, Any]) -> Any:
    """An expression of paths, `==`, `!=`, `&&` and `||`, which mean what Python's do."""
    known = {"true": True, "always()": True, "false": False, "null": None}

    def look_up(match: re.Match[str]) -> str:
        if match[0].startswith("'") or match[0] in ("and", "or"):
            return match[0]
        value: Any = known if match[0] in known else context
        for name in [match[0]] if match[0] in known else match[0].split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return repr(value)

    python = " ".join(expression.split()).replace("||", " or ").replace("&&", " and ")
    return eval(re.sub(r"'[^']*'|[a-z_][\w.-]*(?:\(\))?", look_up, python), {})


def interpolate(text: str, context: Mapping[str, Any]) -> str:
    """Replace every `${{ ... }}`; what is missing is empty."""
    return re.sub(
        r"\$\{\{(.*?)\}\}",
        lambda match: str(evaluate(match[1], context) or ""),
        text,
        flags=re.DOTALL,
    )


def load(path: Path) -> dict[str, Any]:
    """A workflow or action; YAML reads the key `on` as true."""
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in loaded.items()}


@dataclass(frozen=True, kw_only=True)
class Step:
    """What came of one step."""

    code: int
    out: str
    err: str
    summary: bytes
    outputs: dict[str, str]

    @property
    def commands(self) -> list[Command]:
        found = map(parse_command, (self.out + self.err).splitlines())
        return [command for command in found if command is not None]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A workflow command as the runner understands it."""

    name: str
    properties: dict[str, str]
    message: str


@dataclass(frozen=True, kw_only=True)
class ActionRun:
    """What came of the composite action."""

    steps: dict[str, Step]
    outputs: dict[str, str]

    @property
    def holds(self) -> bool:
        return all(step.code == 0 for step in self.steps.values())


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A workspace, and the environment of its steps."""

    workspace: Path
    environ: dict[str, str]

    def run_script(self, script: str, env: Mapping[str, str]) -> Step:
        files = {
            name: self.workspace.parent / f"runner-{name.lower()}"
            for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")
        }
        for path in files.values():
            path.write_bytes(b"")
        source = self.workspace.parent / "script.sh"
        source.write_text(script, encoding="utf-8")
        named = {name: str(path) for name, path in files.items()}
        done = subprocess.run(
            [*_BASH, str(source)],
            cwd=self.workspace,
            env={**self.environ, **named, "GITHUB_ACTIONS": "true", "CI": "true", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert files["GITHUB_ENV"].read_bytes() == b""
        return Step(
            code=done.returncode,
            out=done.stdout,
            err=done.stderr,
            summary=files["GITHUB_STEP_SUMMARY"].read_bytes(),
            outputs=parse_outputs(files["GITHUB_OUTPUT"].read_bytes()),
        )

    def run_action(self, **inputs: str) -> ActionRun:
        """Run the composite action; dashes in names of inputs are written as underscores."""
        action = load(ACTION)
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        declared = action["inputs"].items()
        values = {name: given.pop(name, facts.get("default", "")) for name, facts in declared}
        assert given == {}
        context: dict[str, Any] = {"inputs": values, "steps": {}}
        steps: dict[str, Step] = {}
        for step in action["runs"]["steps"]:
            has_failed = any(ended.code for ended in steps.values())
            condition = step.get("if", "false" if has_failed else "true")
            assert evaluate(condition, context), "the stand-in runs every step"
            env = {name: interpolate(text, context) for name, text in step["env"].items()}
            ended = self.run_script(step["run"], env)
            outcome = "failure" if ended.code else "success"
            context["steps"][step["id"]] = {"outcome": outcome, "outputs": ended.outputs}
            steps[step["id"]] = ended
        told = action["outputs"].items()
        return ActionRun(
            steps=steps,
            outputs={name: interpolate(facts["value"], context) for name, facts in told},
        )


def parse_outputs(data: bytes) -> dict[str, str]:
    """Of a GITHUB_OUTPUT file, by the runner's rules; what it would refuse is refused."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    outputs: dict[str, str] = {}
    while lines:
        line = lines.pop(0)
        if not line:
            continue
        name, equals, value = line.partition("=")
        if equals and "<<" not in name:
            outputs[name] = value
            continue
        name, here, delimiter = line.partition("<<")
        assert here, line
        assert name, line
        end = lines.index(delimiter)
        outputs[name] = "\n".join(lines[:end])
        del lines[: end + 1]
    return outputs


def parse_command(line: str) -> Command | None:
    """One line of a log, by the runner's rules; None where it is only text."""
    assert "##[" not in line, line
    text = line.lstrip()
    if not text.startswith("::"):
        return None
    head, separator, message = text[2:].partition("::")
    if not separator:
        return None
    name, _, properties = head.partition(" ")
    pairs = [pair.split("=", 1) for pair in properties.strip().split(",") if "=" in pair]
    return Command(
        name=name,
        properties={key: _unescape(value, (":", ",")) for key, value in pairs},
        message=_unescape(message),
    )


def _unescape(text: str, more: Sequence[str] = ()) -> str:
    for character in ("\r", "\n", *more):
        text = text.replace(f"%{ord(character):02X}", character)
    return text.replace("%25", "%")


def scripts(path: Path) -> list[str]:
    """Every `run:` of a workflow or action."""
    loaded = load(path)
    jobs = loaded.get("jobs", {}).values()
    steps = [step for job in jobs for step in job.get("steps", [])]
    steps += loaded.get("runs", {}).get("steps", [])
    return [step["run"] for step in steps if "run" in step]


def references(path: Path) -> list[str]:
    """Every `uses:` line of a workflow or action that is no comment, as it stands there."""
    found = re.findall(r"^[ -]*uses: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [str(line) for line in found]
