"""A writer for `make bench ARGS=backup`: small commits until a file appears; then its waits as JSON.

It speaks to SQLite as the application does (the write lock with the first statement), without loading it.
"""

import json
import sqlite3
import sys
import time
from pathlib import Path


def main(database: str, go: Path, stop: Path) -> None:
    """Prints "ready", waits for the one file, writes until there is the other; seconds of each commit."""
    connection = sqlite3.connect(database, timeout=15, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    print("ready", flush=True)
    while not go.exists():
        time.sleep(0.005)
    found = []
    while not stop.exists():
        began = time.monotonic()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE attempt SET detail = detail || '.' WHERE id = ?", (len(found) + 1,))
        connection.execute("INSERT INTO downtime (from_at, until_at, found_by) VALUES (0, 0, 'bench')")
        connection.execute("COMMIT")
        found.append(time.monotonic() - began)
        time.sleep(0.01)
    connection.close()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
