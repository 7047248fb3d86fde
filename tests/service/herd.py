"""Several worker processes of a test at once, forked from one that has imported everything they need.

`herd.py MODULE ARGUMENTS`: ARGUMENTS is a JSON list with the arguments of each process, which calls the
module's `main` with them. Exits 1 if any of them failed; what went wrong stands on standard error.
"""

import json
import os
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A busy machine takes its time; a lock that is never given back takes for ever.
HANGING_SECONDS = 300


def run(settings, module, arguments):
    """Runs a process for each list of arguments; all begin when all are ready. None may fail or be locked."""
    environment = {
        "PDS_DATA_DIR": str(settings.data_dir),
        "SECRET_KEY": settings.require("secret_key"),
        "PDS_FERNET_KEYS": settings.require("fernet_keys"),
        "PDS_LLM_ALLOWED_HOSTS": "127.0.0.0/8",
    }
    if not settings.is_embedded:
        environment["DATABASE_URL"] = settings.sqlalchemy_url
    with subprocess.Popen(
        [sys.executable, "-m", "tests.service.herd", module, json.dumps(arguments)],
        cwd=ROOT, env={**os.environ, **environment}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as herd:  # fmt: skip
        for _ in arguments:
            herd.stdout.readline()  # "ready"
        said = herd.communicate(timeout=HANGING_SECONDS)[1]
    assert herd.returncode == 0, said
    for word in ("locked", "deadlock", "Traceback"):
        assert word not in said, said


def main() -> int:
    """The exit code, when all have ended."""
    work = import_module(f"tests.service.{sys.argv[1]}").main
    pids = []
    for arguments in json.loads(sys.argv[2]):
        pids.append(os.fork())
        if pids[-1] == 0:
            os._exit(_worked(work, arguments))
    return int(any([os.waitpid(pid, 0)[1] for pid in pids]))


def _worked(work, arguments):
    try:
        work(arguments)
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
