"""Settings: read once from the environment (and `.env`), validated, secrets never shown.

Names and defaults are the contract of the table in docs/operating.md. `NAME_FILE` gives a secret by file.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import NotConfigured

SECRET_NAMES = (
    "SECRET_KEY",
    "PDS_FERNET_KEYS",
    "OPENAI_API_KEY",
    "PDS_ADMIN_PASSWORD",
    "PDS_LLM_PROXY",
    "PDS_METRICS_TOKEN",
    "PDS_NOTICE_URL",
    "PDS_NOTICE_SECRET",
    "PDS_HEARTBEAT_URL",
    "DATABASE_URL",
    "REDIS_URL",
)
BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SHORTEST_SECRET = 16
# Path of a site below its host: "" or /twins or /labs/twins.
PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
LOOPBACK_HOSTS = ("127.0.0.0/8", "::1/128", "localhost")


def _csv(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _bytes(value: Any) -> Any:
    """500MB, 2 GB, 1500000: a number of bytes."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]?B)?", value.strip().upper())
    if found is None:
        raise ValueError("must be a number of bytes such as 500MB, 2GB or 1500000; 0 switches it off")
    return int(float(found[1]) * BYTES[found[2] if found[2] != "B" and found[2] else ""])


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


def _can_be_asked(url: str, with_user: bool = False) -> bool:
    """Whether this is an address a request can be sent to as it stands; user and password only if allowed."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(" #")
    has_place = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return is_plain and has_place and parts.netloc.count("@") <= with_user


class Settings(BaseSettings):
    """Everything a process may be told from outside. Immutable; `repr` hides every secret."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: SecretStr | None = Field(None, alias="DATABASE_URL")
    redis_url: SecretStr | None = Field(None, alias="REDIS_URL")
    secret_key: SecretStr | None = Field(None, alias="SECRET_KEY")
    fernet_keys: SecretStr | None = Field(None, alias="PDS_FERNET_KEYS")
    openai_api_key: SecretStr | None = Field(None, alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(None, alias="OPENAI_BASE_URL")
    llm_model: str | None = Field(None, alias="LLM_MODEL")
    data_dir: Path = Field(Path("instance"), alias="PDS_DATA_DIR")
    min_free: int = Field(500_000_000, alias="PDS_MIN_FREE", ge=0)
    host: str = Field("127.0.0.1", alias="PDS_HOST")
    port: int = Field(8000, alias="PDS_PORT", ge=0, le=65535)
    admin_email: str | None = Field(None, alias="PDS_ADMIN_EMAIL")
    admin_password: SecretStr | None = Field(None, alias="PDS_ADMIN_PASSWORD")
    llm_allowed_hosts: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None, alias="PDS_LLM_ALLOWED_HOSTS"
    )
    llm_proxy: SecretStr | None = Field(None, alias="PDS_LLM_PROXY")
    llm_ca_file: Path | None = Field(None, alias="PDS_LLM_CA_FILE")
    database_pool: int = Field(5, alias="PDS_DATABASE_POOL", ge=1, le=200)
    database_overflow: int = Field(15, alias="PDS_DATABASE_OVERFLOW", ge=0, le=200)
    workers: int = Field(1, alias="PDS_WORKERS", ge=1, le=64)
    at_once: int = Field(8, alias="PDS_AT_ONCE", ge=1, le=512)
    stop_seconds: float = Field(30, alias="PDS_STOP_SECONDS", gt=0, le=600)
    demo: bool = Field(True, alias="PDS_DEMO")
    dt_service: str = Field("pdsapp.dt_service:DTService", alias="PDS_DT_SERVICE")
    metrics_token: SecretStr | None = Field(None, alias="PDS_METRICS_TOKEN")
    notice_url: SecretStr | None = Field(None, alias="PDS_NOTICE_URL")
    notice_secret: SecretStr | None = Field(None, alias="PDS_NOTICE_SECRET")
    heartbeat_url: SecretStr | None = Field(None, alias="PDS_HEARTBEAT_URL")
    offline_writer_url: str | None = Field(None, alias="PDS_OFFLINE_WRITER_URL")
    trusted_proxies: int = Field(0, alias="PDS_TRUSTED_PROXIES", ge=0, le=10)
    cookie_secure: bool = Field(False, alias="PDS_COOKIE_SECURE")
    public_url: str | None = Field(None, alias="PDS_PUBLIC_URL")

    @field_validator("openai_base_url")
    @classmethod
    def _without_user(cls, value: str | None) -> str | None:
        if value and "@" in value:
            raise ValueError("must not hold user or password; a key goes into OPENAI_API_KEY")
        return value

    @field_validator("notice_url", "heartbeat_url")
    @classmethod
    def _is_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _can_be_asked(value.get_secret_value()):
            raise ValueError("must be an http or https address in plain ASCII, without user and password")
        return value

    @field_validator("llm_proxy")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = value.get_secret_value()
        if not _can_be_asked(url, with_user=True) or urlsplit(url).path.strip("/") or "?" in url:
            raise ValueError(
                "must be an address in plain ASCII such as http://proxy.example.org:3128, http or https; in "
                "a user's name or password write @ : / ? # [ ] as %40 %3A %2F %3F %23 %5B %5D"
            )
        return value

    @field_validator("public_url")
    @classmethod
    def _is_home(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _can_be_asked(value) or not PATH.fullmatch(urlsplit(value).path.rstrip("/")) or "?" in value:
            raise ValueError("must be the address people open, such as https://example.org/twins")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _signs_notices(self) -> Self:
        if self.notice_url is not None and len(_text(self.notice_secret)) < SHORTEST_SECRET:
            raise ValueError(
                f"PDS_NOTICE_URL needs a PDS_NOTICE_SECRET of {SHORTEST_SECRET} characters or more"
            )
        return self

    _read_bytes = field_validator("min_free", mode="before")(_bytes)
    _split_hosts = field_validator("llm_allowed_hosts", mode="before")(_csv)

    @property
    def is_embedded(self) -> bool:
        """Whether the database is the embedded one in the data dir (no DATABASE_URL given)."""
        return self.database_url is None

    @property
    def sqlalchemy_url(self) -> str:
        """The database to use: DATABASE_URL, or SQLite in the data dir. May hold a password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.resolve() / 'discourse_twins.sqlite3'}"

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Hosts and CIDRs endpoints may have besides public https; on the local stack, loopback."""
        if self.llm_allowed_hosts is not None:
            return self.llm_allowed_hosts
        return LOOPBACK_HOSTS if self.is_embedded else ()

    @property
    def address(self) -> str:
        """Where people open the site, without a slash at the end."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def path_prefix(self) -> str:
        """The path the site stands below, such as `/twins`; "" at the root of its host."""
        return urlsplit(self.public_url or "").path

    @property
    def is_https(self) -> bool:
        """Whether cookies are sent over https only."""
        return self.cookie_secure or (self.public_url or "").startswith("https:")

    def require(self, name: str) -> str:
        """The secret stored under a field name, as text. Raises NotConfigured naming the variable."""
        value = getattr(self, name)
        if value is None:
            alias = type(self).model_fields[name].alias
            raise NotConfigured(f"{alias} is not set. Set it in the environment or in .env.")
        return value.get_secret_value() if isinstance(value, SecretStr) else value


def read_settings(**overrides: Any) -> Settings:
    """The settings of this process. Raises NotConfigured with one sentence per bad value.

    Overrides are given by environment name, for tests and for the local stack.
    """
    try:
        return Settings(**{**_secrets_from_files(), **overrides})
    except ValueError as error:
        raise NotConfigured(_sentence(error)) from None


def secret_file(name: str) -> str | None:
    """The file NAME_FILE names, if the secret NAME is taken from it: NAME itself wins."""
    return _named_file(name, _environment())


def _named_file(name: str, given: dict[str, str | None]) -> str | None:
    return (given.get(f"{name}_FILE") or None) if not given.get(name) else None


def _environment() -> dict[str, str | None]:
    """With what `.env` sets: the flask command has put it into the environment, other processes have not."""
    path = Settings.model_config["env_file"]
    return {**(dotenv_values(path) if path else {}), **os.environ}


def _secrets_from_files() -> dict[str, str]:
    found, given = {}, _environment()
    for name in SECRET_NAMES:
        if path := _named_file(name, given):
            try:
                found[name] = Path(path).read_text().strip()
            except OSError as error:
                raise NotConfigured(f"{name}_FILE names a file that cannot be read: {error}.") from None
            if not found[name]:
                raise NotConfigured(f"{name}_FILE names an empty file: {path}.")
    return found


def _sentence(error: ValueError) -> str:
    problems = getattr(error, "errors", None)
    if problems is None:
        return str(error)
    parts = [f"{'.'.join(str(x) for x in p['loc'])}: {p['msg']}" for p in problems(include_input=False)]
    return "Settings cannot be used. " + "; ".join(parts) + "."
