"""Settings: read once, validated, never shown."""

import pytest

from pdsapp import create_app
from pdsapp.config import Settings, read_settings
from pdsapp.errors import NotConfigured


def test_no_secret_is_in_the_representation(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-visible")
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://u:hunter2@h/d")
    shown = repr(read_settings())
    assert "sk-visible" not in shown
    assert "hunter2" not in shown


def test_only_the_names_that_are_documented_are_read(monkeypatch):
    plain = read_settings()
    for name, field in Settings.model_fields.items():
        if name.upper() != field.alias:
            monkeypatch.setenv(name.upper(), "9")  # HOST, PORT and WORKERS are set on many a machine
    assert read_settings() == plain


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("sk-from-file\n")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "key"))
    assert read_settings().require("openai_api_key") == "sk-from-file"


def test_a_secret_file_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(NotConfigured, match="SECRET_KEY_FILE"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PDS_PORT", "eighty"), ("PDS_PORT", "70000"), ("PDS_WORKERS", "0"), ("PDS_STOP_SECONDS", "-1")],
)
def test_a_bad_value_is_named_without_being_repeated(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(NotConfigured, match=name) as error:
        read_settings()
    assert f"'{value}'" not in str(error.value)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:Geheim#99@proxy:3128", "http://user:Geheim/99@proxy:3128", "http://u:Geh@eim@proxy:3128",
        "proxy:3128", "socks5://user:Geheim@proxy:1080", "http://", "http://user:Geheim@proxy:port",
        "http://user:Geheim@proxy:3128/path", "http://user:Geheim@proxy:0",
    ],
)  # fmt: skip
def test_a_proxy_that_is_none_is_refused_without_a_part_of_its_password(proxy):
    with pytest.raises(NotConfigured, match="PDS_LLM_PROXY") as error:
        read_settings(PDS_LLM_PROXY=proxy)
    assert "Geh" not in str(error.value)


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "https://u%40x:p%23%2F@proxy.example.org:3128/"])
def test_a_proxy_is_taken_as_it_is(proxy):
    assert read_settings(PDS_LLM_PROXY=proxy).require("llm_proxy") == proxy


@pytest.mark.parametrize("missing", ["SECRET_KEY", "PDS_FERNET_KEYS"])
def test_a_deployment_without_its_secrets_refuses_to_start_and_says_which(missing):
    given = {
        "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
        "SECRET_KEY": "x",
        "PDS_FERNET_KEYS": "x",
    }
    del given[missing]
    with pytest.raises(NotConfigured, match=missing):
        create_app(read_settings(**given), with_web=False)


def test_the_local_stack_makes_its_secrets_once_and_for_its_owner_only(tmp_path):
    from pdsapp.llm.secrets import ensure_local_secrets

    first = ensure_local_secrets(read_settings(PDS_DATA_DIR=str(tmp_path / "data")))
    second = ensure_local_secrets(read_settings(PDS_DATA_DIR=str(tmp_path / "data")))
    assert first.require("secret_key") == second.require("secret_key")
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "data").iterdir()} == {0o600}


def test_allowed_hosts_default_to_loopback_on_the_local_stack_only():
    assert "127.0.0.0/8" in read_settings().allowed_hosts
    assert read_settings(DATABASE_URL="postgresql+psycopg://h/d").allowed_hosts == ()
    assert read_settings(PDS_LLM_ALLOWED_HOSTS="a.example, 10.0.0.0/8").allowed_hosts == (
        "a.example",
        "10.0.0.0/8",
    )


def test_an_emptied_secret_file_is_not_replaced_in_silence(tmp_path):
    from pdsapp.llm.secrets import ensure_local_secrets

    (tmp_path / "fernet_keys").write_text("")
    with pytest.raises(NotConfigured, match="fernet_keys is empty"):
        ensure_local_secrets(read_settings(PDS_DATA_DIR=str(tmp_path)))


@pytest.mark.parametrize("name", ["SECRET_KEY", "PDS_METRICS_TOKEN", "PDS_FERNET_KEYS"])
def test_an_empty_secret_file_is_refused_by_name(monkeypatch, tmp_path, name):
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "empty"))
    with pytest.raises(NotConfigured, match=f"{name}_FILE names an empty file"):
        read_settings()


@pytest.mark.parametrize(
    ("given", "address", "prefix", "is_https"),
    [
        (None, "http://127.0.0.1:8000", "", False),
        ("https://example.org", "https://example.org", "", True),
        ("https://example.org/", "https://example.org", "", True),
        ("http://example.org:8080/labs/twins/", "http://example.org:8080/labs/twins", "/labs/twins", False),
    ],
)
def test_where_people_open_the_site(given, address, prefix, is_https):
    settings = read_settings(**({"PDS_PUBLIC_URL": given} if given else {}))
    assert (settings.address, settings.path_prefix, settings.is_https) == (address, prefix, is_https)


@pytest.mark.parametrize(
    "given", ["example.org/twins", "https://u:p@example.org", "https://example.org//x", "https://e.org/../x",
              "https://e.org/x?y=1", "https://e.org/x y", "ftp://example.org"],
)  # fmt: skip
def test_an_address_that_cannot_be_the_sites_is_refused(given):
    with pytest.raises(NotConfigured, match="PDS_PUBLIC_URL"):
        read_settings(PDS_PUBLIC_URL=given)


def test_pools_are_as_large_as_the_settings_say():
    from pdsapp.database import engine_options

    given = {
        "SECRET_KEY": "x",
        "PDS_FERNET_KEYS": "x",
        "PDS_DATABASE_POOL": "3",
        "PDS_DATABASE_OVERFLOW": "4",
    }
    app = create_app(
        read_settings(DATABASE_URL="postgresql+psycopg://nobody@127.0.0.1:1/none", **given), with_web=False
    )
    from pdsapp.extensions import db

    with app.app_context():
        assert (db.engine.pool.size(), db.engine.pool._max_overflow) == (3, 4)
    assert "pool_size" not in engine_options("sqlite:///x")


def test_a_file_for_a_secret_may_be_named_in_dotenv_too(tmp_path, monkeypatch):
    (tmp_path / "url").write_text("postgresql+psycopg://twins:hidden@db.example/twins\n")
    (tmp_path / "dotenv").write_text(f"DATABASE_URL_FILE={tmp_path / 'url'}\n")
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / "dotenv"))
    assert read_settings().sqlalchemy_url.endswith("@db.example/twins"), "not an empty SQLite beside it"
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://other.example/twins")
    assert read_settings().sqlalchemy_url.endswith("//other.example/twins")
