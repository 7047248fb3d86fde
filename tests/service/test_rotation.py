"""Encrypting stored keys anew: killed anywhere, run again, while attempts are written with them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from pdsapp.database import transaction
from pdsapp.domain.reasons import AttemptState
from pdsapp.llm.secrets import SecretBox
from pdsapp.models import ApiToken, AuditEvent, utc_now
from pdsapp.services import rotation, tokens
from tests import builders

pytestmark = pytest.mark.database
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
COUNT = 6
ROTATE_AND_DIE = """
import os, signal, sys
from pdsapp import create_app
from pdsapp.config import read_settings
from pdsapp.llm.secrets import SecretBox
from pdsapp.models import utc_now
from pdsapp.services import rotation

done = 0
renew = SecretBox.renew

def renew_or_die(box, encrypted):
    global done
    if done == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1
    return renew(box, encrypted)

SecretBox.renew = renew_or_die
settings = read_settings()
with create_app(settings, with_web=False).app_context():
    rotation.rotate(SecretBox(settings.require("fernet_keys")), utc_now)
"""


@pytest.fixture
def overrides():
    return {"PDS_FERNET_KEYS": f"{NEW},{OLD}"}


@pytest.fixture
def several(app, model_server):
    """Tokens that were stored with the old key."""
    with transaction() as session:
        made = [
            tokens.add_token(
                session, SecretBox(OLD), f"token {number}", model_server.base_url, f"sk-secret-{number:08d}",
                "fake-model", utc_now(),
            )
            for number in range(COUNT)
        ]  # fmt: skip
        session.flush()
        return [token.id for token in made]


@pytest.fixture
def box(settings):
    return SecretBox(settings.require("fernet_keys"))


def read(session, with_box):
    """Which tokens this box can open, and what is in them."""
    session.rollback()
    session.expire_all()
    rows = session.scalars(select(ApiToken).order_by(ApiToken.id)).all()
    return [with_box.open(row.secret_encrypted, row.base_url) for row in rows]


def newest(session):
    session.rollback()
    session.expire_all()
    rows = session.scalars(select(ApiToken).order_by(ApiToken.id))
    return [SecretBox(NEW).is_newest(row.secret_encrypted) for row in rows]


def test_all_keys_are_encrypted_anew_and_are_the_same_keys(session, several, box):
    before = read(session, box)
    assert rotation.rotate(box, utc_now) == rotation.Rotation(COUNT, 0, ())
    assert read(session, SecretBox(NEW)) == before
    assert rotation.rotate(box, utc_now) == rotation.Rotation(0, COUNT, ())


def test_it_may_be_killed_in_the_middle_and_run_again_while_attempts_are_written(
    session, settings, several, box, model_server
):
    study = builders.make_experiment()
    twins = [builders.make_twin(study, f"twin_{key}", session.get_one(ApiToken, key)) for key in several]
    environment = {
        **os.environ,
        "PDS_DATA_DIR": str(settings.data_dir),
        "PDS_FERNET_KEYS": settings.require("fernet_keys"),
        "PDS_DEMO": "0",
        "SECRET_KEY": "test-secret-key",
    }
    if settings.database_url is not None:
        environment["DATABASE_URL"] = settings.database_url.get_secret_value()
    died = subprocess.run(
        [sys.executable, "-c", ROTATE_AND_DIE, "3"], env=environment, cwd=Path(__file__).parents[2],
        timeout=60, check=False,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL
    assert newest(session) == [True] * 3 + [False] * 3
    for twin in twins:
        builders.add_attempt(twin)
    assert builders.run_due(settings) == {AttemptState.posted: COUNT}
    assert {call.key for call in model_server.calls} == {f"sk-secret-{n:08d}" for n in range(COUNT)}
    assert rotation.rotate(box, utc_now) == rotation.Rotation(3, 3, ())
    assert newest(session) == [True] * COUNT
    assert read(session, SecretBox(NEW)) == [f"sk-secret-{n:08d}" for n in range(COUNT)]


def test_a_key_that_is_entered_meanwhile_stays(session, several, box, monkeypatch):
    renew = SecretBox.renew

    def entered_in_between(self, encrypted):
        with transaction() as writing:
            token = writing.get_one(ApiToken, several[0])
            if token.secret_encrypted == encrypted:
                tokens.put_secret(token, self, "sk-entered-just-now")
        return renew(self, encrypted)

    monkeypatch.setattr(SecretBox, "renew", entered_in_between)
    rotation.rotate(box, utc_now)
    assert read(session, box)[0] == "sk-entered-just-now"


def test_what_no_key_reads_is_named_and_the_others_are_done(session, several, box):
    with transaction() as writing:
        tokens.put_secret(
            writing.get_one(ApiToken, several[1]), SecretBox(Fernet.generate_key().decode()), "x" * 20
        )
    assert rotation.rotate(box, utc_now) == rotation.Rotation(COUNT - 1, 0, ("token 1",))


def test_tokens_without_a_key_and_the_form_somebody_has_open_are_left_alone(session, several, box):
    with transaction() as writing:
        tokens.remove_secret(writing.get_one(ApiToken, several[0]))
    assert rotation.rotate(box, utc_now).renewed == COUNT - 1
    versions = session.scalars(select(ApiToken.edit_version)).all()
    assert set(versions) == {1}, "who is editing a token can still save it"


def test_the_audit_trail_says_so_without_the_secret(session, several, box):
    rotation.rotate(box, utc_now)
    events = session.scalars(select(AuditEvent).where(AuditEvent.action == "change")).all()
    assert len(events) == COUNT
    assert "sk-secret" not in str([(event.before, event.after) for event in events])


def test_the_command_says_what_it_did(runner, session, several):
    first, second = (runner.invoke(args=["tokens", "rotate"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout == f"Encrypted anew: {COUNT}. With the newest key already: 0.\n"
    assert second.stdout == f"Encrypted anew: 0. With the newest key already: {COUNT}.\n"


def test_the_command_fails_where_a_key_cannot_be_read(runner, session, several):
    with transaction() as writing:
        tokens.put_secret(
            writing.get_one(ApiToken, several[1]), SecretBox(Fernet.generate_key().decode()), "x" * 20
        )
    result = runner.invoke(args=["tokens", "rotate"])
    assert result.exit_code == 1
    assert "“token 1” can be read with none of PDS_FERNET_KEYS" in result.stderr
