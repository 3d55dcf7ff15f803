"""What a hostile program cannot get to: files, the environment, the network, other processes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qgate.sandbox import Isolation, Limits, Outcome, Program, run_programs

Run = Callable[..., Outcome]

READS = """
for path in PATHS:
    try:
        found = open(path).read()
    except OSError:
        continue
    assert False, f"{path}: {found}"
"""
WRITES = """
import os
for path in PATHS:
    for attempt in (
        lambda: open(path, "w").write("x"),
        lambda: open(path, "a").write("x"),
        lambda: os.remove(path),
        lambda: os.rename(path, path + ".moved"),
        lambda: os.chmod(path, 0o777),
        lambda: os.link(path, "link"),
        lambda: os.mkdir(path + ".made"),
        lambda: os.truncate(path, 0),
    ):
        try:
            attempt()
        except OSError:
            continue
        assert False, path
"""
CONNECTS = """
import socket
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", PORT), 3),
    lambda: socket.create_connection(("192.0.2.1", 80), 3),
    lambda: socket.getaddrinfo("example.com", 80),
    lambda: socket.socket(socket.AF_UNIX).connect(UNIX),
    lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + ABSTRACT),
    lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
):
    try:
        attempt()
    except OSError:
        continue
    assert False, "connected"
"""
SYSTEM_CALLS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for attempt in (
    lambda: libc.unshare(0x10000000),
    lambda: libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None),
    lambda: libc.umount2(b"/usr/lib", 2),
    lambda: libc.chroot(b"/tmp"),
    lambda: libc.ptrace(16, 1, 0, 0),
    lambda: libc.shmget(0, 1 << 30, 0o1600),
    lambda: libc.setuid(0) if libc.getuid() else -1,
    lambda: libc.prctl(24, 0, 0, 0, 0),
):
    assert attempt() == -1
"""


def test_files_of_others_cannot_be_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a token")
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path)
    home = Path.home() / ".profile"
    paths = [
        *(str(secret), "secret", "../secret", f"../../../../..{secret}", str(home)),
        *("/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/1/environ", "/proc/version"),
        *(__file__, "/sys/kernel/uevent_seqnum", "/dev/vda", "/dev/kmsg", "/dev/tty"),
        "/proc/self/cwd/secret",
    ]

    assert run(f"PATHS = {paths}\n" + READS).why == ""
    links = f"import os\nos.symlink({str(secret)!r}, 'link')\nPATHS = ['link']\n"
    assert run(links + READS).why == ""


def test_nothing_outside_can_be_changed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    tmp_path.chmod(0o777)
    kept.chmod(0o666)
    monkeypatch.chdir(tmp_path)
    library = os.__file__
    before = Path(library).read_bytes()
    inside = [os.path.realpath(library), "/usr/bin/env", "/bin/sh", "/etc/ld.so.cache", "/new"]
    paths = [str(kept), f"../../../../..{kept}", *inside]

    assert run(f"PATHS = {paths}\n" + WRITES).why == ""
    links = f"import os\nos.symlink({str(kept)!r}, 'a')\nos.symlink('../..{kept}', 'b')\n"
    through = (
        "for path in 'a', 'b':\n  try: open(path, 'w')\n  except OSError: continue\n  assert 0"
    )
    assert run(links + through).why == ""
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "kept"
    assert Path(library).read_bytes() == before


def test_what_is_shown_is_mounted_read_only(run: Run) -> None:
    """Whoever owns it: permissions protect root's files only from those who are not root."""
    places = ["/", "/usr/bin", "/usr/lib", "/etc", str(Path(os.__file__).resolve().parent)]
    code = f"import os\nfor place in {places}: assert os.statvfs(place).f_flag & os.ST_RDONLY"

    assert run(code).why == ""


def test_each_program_begins_in_an_empty_directory(run: Run) -> None:
    code = "import os\nassert os.listdir('.') == [], os.listdir('.')\nopen('left', 'w').write('x')"

    assert run(code).why == ""
    assert run(code).why == ""


def test_the_callers_environment_and_files_are_not_there(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a token")
    (tmp_path / "open").write_text("a token")
    code = (
        "import os\nassert 'a token' not in str(os.environ), os.environ\n"
        "assert os.environ['HOME'] == os.getcwd() == '/tmp'\n"
        "for number in range(3, 4096):\n"
        "  try: found = os.read(number, 4096)\n"
        "  except OSError: continue\n"
        "  assert b'a token' not in found\n"
    )
    with (tmp_path / "open").open() as stream:
        os.set_inheritable(stream.fileno(), True)
        outcome = run(code)

    # it took the runner's own word, which costs it the pass, and found nothing else
    assert outcome.why == "left before its end: exit code 0", outcome.why


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[str]:
    """Servers in the test's process that take every connection; the code that names them."""
    abstract = f"qgate-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as internet,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as nameless,
    ):
        unix.bind(str(tmp_path / "s"))
        nameless.bind("\0" + abstract)
        for server in (unix, nameless):
            server.listen()
        yield (
            f"PORT = {internet.getsockname()[1]}\nUNIX = {str(tmp_path / 's')!r}\n"
            f"ABSTRACT = {abstract!r}\n"
        )


def test_no_network_is_reached(run: Run, servers: str) -> None:
    names: dict[str, object] = {}
    exec(servers, names)
    socket.create_connection(("127.0.0.1", int(str(names["PORT"]))), 3).close()

    assert run(servers + CONNECTS).why == ""


def test_what_could_open_the_sandbox_is_refused(run: Run) -> None:
    assert run(SYSTEM_CALLS).why == ""


def test_killing_whatever_it_sees_harms_nobody(isolation: Isolation) -> None:
    kills = (
        "import os\n"
        "for target in (os.getppid(), 1, -1, *range(2, 400)):\n"
        "  if target != os.getpid():\n"
        "    try: os.kill(target, 9)\n"
        "    except OSError: pass\n"
    )
    programs = [
        Program(name="neighbour", code="import time; time.sleep(1)"),
        Program(name="killer", code=kills),
        Program(name="group", code="import os; os.kill(0, 9)"),
        Program(name="next", code="assert True"),
    ]
    threads = threading.active_count()
    neighbour, killer, group, after = run_programs(programs, Limits(), isolation)

    assert [neighbour.passed, killer.passed, after.passed] == [True, True, True]
    assert group.why == "left before its end: exit code 137 (SIGKILL)"
    assert threading.active_count() == threads
