"""A small app on the stack's web server: `dummy_web.py DESCRIPTOR HEARTBEAT_FILE`; `/slow` takes 0.3 s,
`/length` says how much it was sent."""

import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pdsapp.stack.web import serve


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        print("slow has begun", flush=True)
        time.sleep(0.3)
    if environ["PATH_INFO"] == "/length":
        start_response("413 Too Large", [("Content-Type", "text/plain")])
        kept = len(environ["wsgi.input"].read())
        return [f"{environ['CONTENT_LENGTH']} announced, {kept} kept".encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("HTTP_X_FORWARDED_FOR", "direct").encode()]


if __name__ == "__main__":
    serve(app, socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
