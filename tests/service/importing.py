"""Posts from a file's text, for tests: planned, and imported."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from pdsapp.database import reading, transaction
from pdsapp.models import Experiment, Post
from pdsapp.services import post_files, post_import, post_plan
from pdsapp.services.persona_files import NamedFile

NOW = datetime(2026, 11, 21, 12, 7, 30, tzinfo=UTC)
HEADER = "author,text,time,parent,id\n"
TALK = (
    "@Ada,The early train was on time.,2026-11-20T08:30,,a\n"
    "bob,So was mine.,2026-11-20T09:00:00+01:00,a,b\n"
    "ada,Which line?,2026-11-20 10:15,b,c\n"
)


def plan_of(study, text, name="talk.csv", now=NOW):
    """What importing a file with this text would do."""
    sheet = post_files.read_file(NamedFile(name, text.encode()))
    with reading() as session:
        return post_plan.make_plan(session, session.get_one(Experiment, study.id), sheet, now)


def carry_out(study, plan, now=NOW, **options):
    """Imports what was planned."""
    with transaction() as session:
        found = session.get_one(Experiment, study.id)
        return post_import.import_posts(session, found, plan, now, **options)


def bring_in(study, text, now=NOW, **options):
    """Imports a CSV file with this text."""
    return carry_out(study, plan_of(study, text, now=now), now, **options)


def count(session, model=Post):
    """How many rows there are by now."""
    session.rollback()
    return session.scalar(select(func.count()).select_from(model))
