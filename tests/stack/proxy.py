"""A reverse proxy on loopback, as small as one can be: it says who asks and passes everything on."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DROPPED = {"connection", "keep-alive", "transfer-encoding", "x-forwarded-for", "x-forwarded-proto",
           "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"}  # fmt: skip


class ReverseProxy:
    """Listens on 127.0.0.1, any port; use it as a context manager.

    Only addresses below `prefix` are passed on; `takes_away`: without it, and told in X-Forwarded-Prefix.
    """

    def __init__(self, to_port: int, prefix: str, takes_away: bool = False):
        proxy = self
        self.to_port, self.prefix, self.takes_away = to_port, prefix, takes_away

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                proxy.pass_on(self)

            do_POST = do_HEAD = do_GET

            def log_message(self, *_):
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self) -> "ReverseProxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        """Asks the site and gives back what it answers."""
        path = handler.path
        if not path.startswith(f"{self.prefix}/"):
            handler.send_error(404, "not below the path")
            return
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in DROPPED}
        headers |= {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"}
        headers["X-Forwarded-Host"] = handler.headers["Host"]
        if self.takes_away:
            path = path.removeprefix(self.prefix)
            headers["X-Forwarded-Prefix"] = self.prefix
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", self.to_port, timeout=30)
        try:
            connection.request(handler.command, path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError:
            handler.send_error(502)
            return
        finally:
            connection.close()
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in DROPPED | {"content-length", "server", "date"}:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)
