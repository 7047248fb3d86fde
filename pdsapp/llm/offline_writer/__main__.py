"""`python -m pdsapp.llm.offline_writer [--host H] [--port N]`: serves until SIGTERM or Ctrl-C."""

import argparse
import signal
import sys
import threading

from .server import HOST, serve


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 after a signal, 1 if the port cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m pdsapp.llm.offline_writer", description=__doc__)
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes any (default)")
    options = parser.parse_args(arguments)
    try:
        server = serve(options.host, options.port)
    except (OSError, OverflowError) as error:
        print(f"The offline writer cannot listen on {options.host}:{options.port}: {error}.", file=sys.stderr)
        return 1

    def stop(*_: object) -> None:
        # shutdown() waits for the loop this handler interrupts: it has to be called from a thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"listening on {server.base_url}", flush=True)
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
