"""Who has withdrawn, kept beside the backups: a backup from before is not to bring them back.

A file of lines in JSON, one for each: the profile's UUID, which says nothing by itself, and when it was asked
for. Restoring a backup reads it and withdraws those again that the backup still has.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from ..models import Withdrawal
from . import backups

NAME = "withdrawn.jsonl"


@dataclass(frozen=True)
class Tombstone:
    """One participant who withdrew: the profile's UUID, and whether only mentions of names were erased."""

    profile: UUID
    only_mentions: bool


def put(session: Session, withdrawal: Withdrawal) -> None:
    """Writes a withdrawal down beside the embedded database's backups, once; nothing for other databases.

    Raises OSError.
    """
    url = session.get_bind().engine.url
    if url.get_backend_name() != "sqlite" or not url.database:
        return
    folder = Path(url.database).absolute().parent / backups.FOLDER
    uuid = withdrawal.user_profile.uuid
    if any(each.profile == uuid for each in read(folder / NAME)):
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    line = {
        "profile": str(uuid),
        "only_mentions": withdrawal.only_mentions,
        "asked_at": withdrawal.asked_at.isoformat(),
    }
    descriptor = os.open(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a") as file:
        # Whoever wrote the last line may have died in the middle of it: this one is not to be its end.
        file.write(f"\n{json.dumps(line)}\n" if file.tell() else f"{json.dumps(line)}\n")
        file.flush()
        os.fsync(file.fileno())


def carry(source: Path, target: Path) -> None:
    """Copies a file of tombstones that names somebody to where there is none yet. Raises OSError."""
    if not read(source):
        return
    target.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(source.read_text())


def read(path: Path) -> list[Tombstone]:
    """Those a file names; none if there is no file. A line that was cut off in the middle is left out."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
            found.append(Tombstone(UUID(row["profile"]), bool(row.get("only_mentions"))))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found
