"""A supervisor with dummy children: `dummy_stack.py DATA_DIR PORT CHILDREN BY_NOHUP`.

CHILDREN is JSON, name to options; BY_NOHUP is 1 to be deaf to SIGHUP as nohup makes it, else 0.
"""

import json
import os
import signal
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dummy_child

from pdsapp.errors import StackError
from pdsapp.stack.children import ChildSpec, says
from pdsapp.stack.lock import StackLock, prepare_data_dir
from pdsapp.stack.output import Output
from pdsapp.stack.preflight import address_of, bind
from pdsapp.stack.supervisor import Pace, Supervisor
from pdsapp.stack.valkey import valkey_child

CHILD = Path(__file__).with_name("dummy_child.py")
PACE = Pace(quiet=1.5, frozen=1, first_heartbeat=3, first_wait=0.2, longest_wait=0.8, healthy=60)


def dummy(
    name: str, data_dir: Path, mode: str, ready_seconds: float = 10, is_forked: bool = False, **options
) -> ChildSpec:
    file, step = data_dir / f"{name}.file", data_dir / f"{name}.step"

    def heartbeat_age(_pid: int) -> float | None:
        if step.exists():  # the clock is set while this is asked
            step.replace(os.environ["SHIFTED_CLOCK_FILE"])
        return time.time() - file.stat().st_mtime if file.exists() else None

    return ChildSpec(
        name=name,
        argv=(sys.executable, "-S", str(CHILD), mode, str(file)),
        function=(lambda: dummy_child.main(mode, file)) if is_forked else None,
        env={"DUMMY_NOTE": f"for {name}"},
        is_ready=says("ready"),
        ready_seconds=ready_seconds,
        heartbeat_age=heartbeat_age if mode.startswith("beat") else None,
        **options,
    )


def main(path: Path, port: int, children: dict[str, dict]) -> int:
    output = Output()
    data_dir = prepare_data_dir(path)
    with StackLock(data_dir) as lock, closing(bind("127.0.0.1", port)) as listener:
        lock.announce(address_of("127.0.0.1", listener))
        with Supervisor(output, pace=PACE) as supervisor:
            for name, options in children.items():
                if name == "valkey":
                    supervisor.start(replace(valkey_child(data_dir, output.say), **options))
                else:
                    supervisor.start(dummy(name, data_dir, **options))
            supervisor.wait_until_ready()
            output.plain(f"up pid={os.getpid()}")
            supervisor.watch()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[4] == "1" else signal.SIG_DFL)
    try:
        sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
    except StackError as error:
        print(f"Discourse Twins: {error}", file=sys.stderr)
        sys.exit(1)
