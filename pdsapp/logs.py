"""Structured logs: one line an event, with the attempt's id, never a secret, prompt or post."""

import logging
import sys

import structlog

HIDDEN = frozenset({"secret", "api_key", "password", "token", "messages", "content", "text", "prompt"})


def configure(level: int = logging.INFO) -> None:
    """Sets structlog and the standard library's loggers to write key=value lines to stderr."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _Stderr) for handler in root.handlers):
        handler = _Stderr()
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level)
    for noisy in (
        "httpx2",
        "httpcore2",
        "openai",
        "rq.worker",
        "rq.scheduler",
        "alembic",
        "waitress",
        "flask-limiter",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Stderr(logging.StreamHandler):
    """Writes to what is standard error at the moment."""

    def __init__(self):
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stderr


def _hide(_logger, _name, event: dict) -> dict:
    return {key: "(hidden)" if key in HIDDEN else value for key, value in event.items()}
