"""gunicorn in a deployment: `gunicorn --config deploy/gunicorn.conf.py app:app`.

WEB_CONCURRENCY processes answer, each with THREADS threads: sizing stands in docs/deploying.md.
"""

import os
from pathlib import Path

from dotenv import load_dotenv

THREADS = 8

load_dotenv(".env")  # as `flask` does; what the environment says wins

bind = f"{os.environ.get('PDS_HOST') or '127.0.0.1'}:{os.environ.get('PDS_PORT') or 8000}"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
worker_class = "gthread"
threads = THREADS
# Made once and shared; it holds no connection yet. A setting that is missing ends the start with a sentence.
preload_app = True
# Longer than the proxy keeps an idle connection, so that it is the proxy who closes it.
keepalive = 130
timeout = 60
graceful_timeout = 20
# What a proxy says is read by the application, by PDS_TRUSTED_PROXIES; gunicorn itself believes nobody.
forwarded_allow_ips = ""
control_socket_disable = True
# Signs of life of the processes are touched every second: in memory, also where nothing else can be written.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None


def when_ready(_server):
    """Settle the garbage collector before the processes are forked, which take it over as it is."""
    from pdsapp import collector

    collector.settle()
