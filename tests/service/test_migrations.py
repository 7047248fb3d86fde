"""The schema: migrations give what the models say, up and down, on every database."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade

from pdsapp import create_app
from pdsapp.database import reading
from pdsapp.errors import DatabaseNotReady
from pdsapp.extensions import db
from pdsapp.models import Base
from pdsapp.services import database
from tests import builders
from tests.conftest import TEST_DATABASE_URL

pytestmark = pytest.mark.database


def _differences():
    with db.engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)


def test_upgrading_from_empty_gives_exactly_the_models(app):
    assert _differences() == []


def test_downgrading_to_empty_and_upgrading_again_works(app):
    downgrade(revision="base")
    assert set(sa.inspect(db.engine).get_table_names()) <= {"alembic_version"}
    upgrade()
    assert _differences() == []


def test_one_migration_back_and_forth_keeps_what_is_there(app):
    study = builders.make_experiment("Kept")
    builders.make_twin(study, "maya")
    downgrade(revision="0001")
    upgrade()
    assert _differences() == []
    with reading() as session:
        found = session.execute(sa.text("SELECT name, stopped_at, paused_by FROM experiment")).one()
        assert (found.name, found.stopped_at, found.paused_by) == ("Kept", None, "")
        assert session.scalar(sa.text("SELECT count(*) FROM digital_twin")) == 1


@pytest.mark.parametrize(
    ("revision", "remedy"), [("0001", "flask db upgrade"), ("other", "Start the newer one")]
)
def test_a_database_of_another_revision_is_refused_with_what_to_do(app, revision, remedy):
    with db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    with pytest.raises(DatabaseNotReady, match=remedy):
        database.require_head()
    with database.transaction() as session, pytest.raises(DatabaseNotReady, match=remedy):
        database.require_head_still(session)


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite")
def test_a_database_that_holds_something_is_saved_before_it_is_migrated(app, settings, monkeypatch):
    study = builders.make_experiment("Kept")
    monkeypatch.setattr(database, "head_revision", lambda: "next")
    monkeypatch.setattr(database, "_upgrade", lambda app: None)
    prepared = database.prepare(app)
    assert prepared.was_migrated
    assert str(prepared.backup) in prepared.lines[-1]
    assert prepared.backup.stat().st_mode & 0o777 == 0o600
    copy = sa.create_engine(f"sqlite:///{prepared.backup}", poolclass=sa.NullPool)
    with copy.connect() as connection:
        names = connection.scalars(sa.text("SELECT name FROM experiment")).all()
    assert names == [study.name]


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite")
def test_a_database_of_a_newer_version_is_left_alone(app, settings):
    with db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseNotReady, match="newer"):
        database.prepare(app)
    assert not (settings.data_dir / "backups").exists()


@pytest.mark.skipif(TEST_DATABASE_URL is not None, reason="the embedded database is SQLite")
def test_preparing_an_empty_folder_makes_the_database_and_twice_changes_nothing(tmp_path):
    from tests.conftest import _settings

    app = create_app(_settings(tmp_path / "fresh", None), with_web=False)
    assert database.prepare(app).was_created
    assert database.prepare(app).lines == []
    with app.app_context():
        db.engine.dispose()


def test_a_reading_transaction_cannot_write(app):
    with reading() as session, pytest.raises(sa.exc.DBAPIError, match=r"readonly|read-only"):
        session.execute(sa.text("UPDATE installation SET paused_reason = 'x'"))
