"""Every error is a page with a sentence that says what to do, and none shows how things are inside."""

import pytest
from sqlalchemy.exc import OperationalError

from pdsapp import errors


@pytest.fixture
def is_own_app():
    return True  # it gets a page more


@pytest.fixture
def raising(app, sign_in):
    """`raising(error)` asks for a page whose code raises it, as on a server that is not under test."""
    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    box = []

    def crash():
        raise box[0]

    app.add_url_rule("/crash", "crash", crash)
    browser = sign_in("researcher")

    def ask(error):
        box[:] = [error]
        return browser.get("/crash")

    return ask


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadInput("The URL holds no id. Go back."), 400),
        (errors.NotFound("There is no such twin."), 404),
        (errors.NobodyEligible("No twin is active."), 409),
        (errors.SecretUnreadable("Enter the key again."), 409),
        (errors.QueueDown("The queue does not answer."), 503),
        (errors.DatabaseNotReady("Run: flask db upgrade"), 503),
        (errors.NotConfigured("LLM_MODEL is not set."), 503),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_products_errors_show_their_own_sentence(raising, error, status):
    answer = raising(error)
    assert answer.status_code == status
    assert str(error) in answer.text
    assert "Discourse Twins" in answer.text
    assert ("broke on our side" in answer.text) is (status == 500)


def test_every_error_of_the_family_has_a_status():
    from pdsapp.web.errors import STATUS

    web_only = {errors.StackError}
    family = (
        {value for value in vars(errors).values() if isinstance(value, type)} - {errors.PdsError} - web_only
    )
    assert family <= STATUS.keys()


def test_a_crash_shows_a_reference_and_nothing_of_the_inside(raising, caplog):
    answer = raising(RuntimeError("secret sk-very-secret-1234 in /home/ada/app.py"))
    assert answer.status_code == 500
    assert "Reference" in answer.text
    for word in ("RuntimeError", "Traceback", "sk-very-secret", "/home/ada"):
        assert word not in answer.text


def test_a_database_that_is_away_is_said_so(raising):
    answer = raising(OperationalError("SELECT secret FROM account", {}, Exception("disk I/O error")))
    assert answer.status_code == 503
    assert "The database does not answer" in answer.text
    assert "SELECT" not in answer.text


def test_pages_work_without_any_table(app, client):
    """Somebody points a new version at an empty database."""
    from pdsapp.extensions import db

    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE account RENAME TO account_gone")
    answer = client.sign_in("ada@example.org")
    assert answer.status_code == 503
    assert "flask doctor" in answer.text
    assert client.get("/login").status_code == 200


@pytest.mark.parametrize(
    ("path", "method", "status", "words"),
    [
        ("/nowhere", "get", 404, "There is nothing here"),
        ("/logout", "get", 405, "takes no such request"),
        ("/admin/persona/details/?id=99", "get", 404, "There is no such persona"),
        ("/admin/persona/details/?id=abc", "get", 404, "There is no such persona"),
        ("/admin/persona/details/?id=99999999999999999999", "get", 404, "There is no such persona"),
        ("/admin/persona/edit/?id=-1", "get", 404, "There is no such persona"),
        ("/admin/attempt/new/", "get", 404, "There is nothing here"),
        ("/admin/experiment/export/xlsx/", "get", 404, ""),
    ],
)
def test_addresses_that_lead_nowhere(researcher, path, method, status, words):
    answer = getattr(researcher, method)(path)
    assert answer.status_code == status
    assert words in answer.text


def test_a_body_that_is_too_large_is_refused(researcher):
    answer = researcher.post("/admin/persona/new/", data={"name": "x", "text": "y" * (3 * 1024 * 1024)})
    assert answer.status_code == 413
    assert "Send a smaller text" in answer.text
