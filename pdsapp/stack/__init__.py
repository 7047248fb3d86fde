"""The local stack: everything the product needs, as child processes of one command.

Nothing heavy is imported here: what cannot start shall say so at once.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import Settings


def run_local_stack(settings: "Settings") -> int:
    """Run the whole stack until Ctrl-C or SIGTERM; the process's exit code (0).

    Only for the main thread. Raises StackError, or another PdsError, with one sentence when it cannot start;
    nothing is left running then.
    """
    from .preflight import refuse_windows

    refuse_windows()
    from .local import run

    return run(settings)


def main() -> int:
    """The exit code of `python app.py`: the stack with the settings of the environment.

    1, after one sentence on stderr, if it cannot start.
    """
    from ..errors import PdsError
    from .preflight import refuse_windows

    try:
        refuse_windows()
        from ..config import read_settings

        return run_local_stack(read_settings())
    except PdsError as error:
        print(f"Discourse Twins: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nDiscourse Twins: stopped before the start was over.", file=sys.stderr)
    return 1
