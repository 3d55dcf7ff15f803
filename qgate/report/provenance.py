"""Where a report comes from: machine, versions, git and CI, as a fingerprint without secrets.

The host's name and the user's stay out; addresses lose their credentials. What cannot be found out
is null: describing the environment never fails a run.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import qgate
from qgate.confinement.processors import usable_processors

if TYPE_CHECKING:
    from collections.abc import Mapping

_GIT_DEADLINE_S = 2.0
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"]*[^\s'\":,.;)]")


def describe(environ: Mapping[str, str], invocation_dir: Path | None = None) -> dict[str, Any]:
    """Return the report's `environment`, with a fresh session id.

    Args:
        environ: the process's environment variables; only CI facts and PATH are read.
        invocation_dir: where pytest was started; the current directory where None.
    """
    directory = invocation_dir or Path.cwd()
    return {
        "session_id": str(uuid.uuid4()),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "qgate": qgate.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": {
            "model": _find_cpu_model(Path("/proc/cpuinfo")),
            "count": os.cpu_count(),
            "usable": usable_processors(),
        },
        "ram_bytes": _count_ram_bytes(),
        "git": describe_git(directory, environ),
        "ci": describe_ci(environ),
    }


def until_now(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The same with `ended_at`, which MLflow's duration is made of."""
    return {**environment, "ended_at": datetime.now(UTC).isoformat(timespec="seconds")}


def strip_credentials(text: str) -> str:
    """Remove user names, passwords and query strings from every address in a text."""
    return _ADDRESS.sub(lambda found: strip_uri(found.group()), text)


def strip_uri(uri: str) -> str:
    """One address without user, password and query; its scheme alone where it is not clear.

    The password of a database may hold a slash: an @ right of the first slash is then either a
    path's or the end of a login, and nothing of such an address is shown.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    try:
        _ = urlsplit(f"{scheme}://{host}").port
    except ValueError:
        return f"{scheme}://"
    if authority and "@" in rest[len(authority) :]:
        return f"{scheme}://"
    path = re.split(r"[?#]", rest[len(authority) :], maxsplit=1)[0]
    return f"{scheme}://{host}{path}"


def describe_git(directory: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return commit, branch, dirty and remote; empty without git or outside a repository."""
    commit = _run_git(directory, environ, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {}
    # null on a detached head, as CI checks it out
    branch = _run_git(directory, environ, "symbolic-ref", "--short", "HEAD")
    remote = _run_git(directory, environ, "config", "--get", "remote.origin.url")
    return {
        "commit": commit.strip(),
        "branch": branch and branch.strip(),
        "dirty": _is_dirty(directory, environ),
        "remote": remote and strip_uri(remote.strip()),
    }


def _is_dirty(directory: Path, environ: Mapping[str, str]) -> bool | None:
    """Whether a tracked file differs; None where that cannot be found out safely.

    `git status` starts the programs that a repository's own settings name as filters, which come
    with an archive as well as from its owner: they are switched off. Those of the user stay.
    """
    filters = _find_own_filters(directory, environ)
    if filters is None:
        return None
    off = [
        f"filter.{name}.{setting}"
        for name in sorted(filters)
        for setting in ("clean=", "smudge=", "process=", "required=false")
    ]
    options = [word for setting in off for word in ("-c", setting)]
    # of a submodule the commit is compared; git would go by the submodule's settings for more
    status = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
    changes = _run_git(directory, environ, *options, *status)
    return None if changes is None else bool(changes.strip())


def _find_own_filters(directory: Path, environ: Mapping[str, str]) -> set[str] | None:
    """The names of filters in the repository's own settings; None where they cannot be listed."""
    listing = ("config", "--show-scope", "--includes", "-z", "--name-only", "--list")
    listed = _run_git(directory, environ, *listing)
    if listed is None:
        return None
    fields = listed.split("\0")
    own = {
        name.removeprefix("filter.").rpartition(".")[0]
        for scope, name in zip(fields[::2], fields[1::2], strict=False)
        if scope in ("local", "worktree") and name.startswith("filter.") and name.count(".") > 1
    }
    # no setting of such a name can be given on the command line: `-c` ends a name at its first =
    return None if any("=" in name or "\N{REPLACEMENT CHARACTER}" in name for name in own) else own


def _run_git(directory: Path, environ: Mapping[str, str], *arguments: str) -> str | None:
    """What git says, by a call that starts no program which the repository's settings name."""
    safe = ("git", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
    try:
        done = subprocess.run(
            (*safe, "-C", str(directory), *arguments),
            env={
                **environ,
                "GIT_OPTIONAL_LOCKS": "0",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_ALLOW_PROTOCOL": "none",  # a partial clone would fetch what it lacks
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_DEADLINE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def describe_ci(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return which CI job this is; empty outside GitHub Actions and GitLab CI."""
    if environ.get("GITHUB_ACTIONS") == "true":
        server, repository, run = (
            environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")
        )
        return {
            "name": "github",
            "run_url": f"{server}/{repository}/actions/runs/{run}" if repository and run else None,
            "run_number": environ.get("GITHUB_RUN_NUMBER"),
            "sha": environ.get("GITHUB_SHA"),
            "ref": environ.get("GITHUB_REF"),
        }
    if environ.get("GITLAB_CI") == "true":
        return {
            "name": "gitlab",
            "run_url": environ.get("CI_JOB_URL") or environ.get("CI_PIPELINE_URL"),
            "run_number": environ.get("CI_PIPELINE_IID"),
            "sha": environ.get("CI_COMMIT_SHA"),
            "ref": environ.get("CI_COMMIT_REF_NAME"),
        }
    return {}


def _find_cpu_model(cpuinfo: Path) -> str | None:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+?)\s*$", text, re.MULTILINE)
    return match.group(1) if match else platform.processor() or None


def _count_ram_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
