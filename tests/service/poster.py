"""A writer for tests: adds posts and their revisions until a file appears, then says how it went.

It speaks to SQLite as the application does (the write lock with the first statement), without loading it.
"""

import json
import sqlite3
import sys
import time
from pathlib import Path
from uuid import uuid4

POST = (
    "INSERT INTO post (uuid, experiment_id, user_profile_id, text, revision, visibility, is_stand_in, "
    "created_at, changed_at) VALUES (?, ?, ?, 'Rain.', 1, 'visible', 0, ?, ?)"
)
REVISION = "INSERT INTO post_revision (post_id, number, text, created_at) VALUES (?, 1, 'Rain.', ?)"


def main(path: str, profile_id: int, experiment_id: int, stop: Path) -> None:
    """Prints a line "ready" after the first post, then JSON: how many posts, and the longest wait for one."""
    posts, longest = 0, 0.0
    connection = sqlite3.connect(path, timeout=15, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    while not stop.exists():
        began, now = time.monotonic(), time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime())
        connection.execute("BEGIN IMMEDIATE")
        made = connection.execute(POST, (uuid4().hex, experiment_id, profile_id, now, now)).lastrowid
        connection.execute(REVISION, (made, now))
        connection.execute("COMMIT")
        longest = max(longest, time.monotonic() - began)
        posts += 1
        if posts == 1:
            longest = 0.0
            print("ready", flush=True)
        time.sleep(0.005)
    connection.close()
    print(json.dumps({"posts": posts, "longest": longest}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
