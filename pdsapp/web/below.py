"""A site below a path of its host, such as /twins, whether or not the proxy in front takes the path away."""

from collections.abc import Callable, Iterable

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface

from ..config import PATH

HEADER = "HTTP_X_FORWARDED_PREFIX"


class BelowPath:
    """WSGI middleware: tells the application where it stands, so that every address begins there.

    `prefix` is that of PDS_PUBLIC_URL. Without one, X-Forwarded-Prefix is believed as far as there are
    `proxies` that are trusted, if it is a plain path.
    """

    def __init__(self, application: Callable, prefix: str, proxies: int):
        self._application, self._prefix, self._proxies = application, prefix, proxies

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        prefix = self._prefix or self._told(environ)
        if prefix:
            environ["SCRIPT_NAME"] = prefix
            path = environ.get("PATH_INFO", "")
            if path == prefix or path.startswith(f"{prefix}/"):
                environ["PATH_INFO"] = path[len(prefix) :] or "/"
        return self._application(environ, start_response)

    def _told(self, environ: dict) -> str:
        values = [value.strip().rstrip("/") for value in environ.get(HEADER, "").split(",")]
        if not 0 < self._proxies <= len(values):
            return ""
        told = values[-self._proxies]
        return told if PATH.fullmatch(told) else ""


class Sessions(SecureCookieSessionInterface):
    """Sessions whose cookie is sent to this site only, not to others below the same host."""

    def get_cookie_path(self, app: Flask) -> str:
        """The path the site stands below."""
        return request.script_root or "/"
