"""API tokens: credentials for OpenAI-compatible endpoints."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ..domain.call_limits import CallLimits
from ..domain.reasons import TokenState
from .base import Base, HasEditVersion, HasPause, HasUuid, Json, enum_of, utc_now


class ApiToken(Base, HasUuid, HasEditVersion, HasPause):
    """A credential for one endpoint. The secret is encrypted together with its base URL.

    `secret_encrypted` is None for endpoints that need no key. `last_four` and `fingerprint`
    (first 12 hex digits of a keyed hash) are all that can ever be shown of it.

    `last_test_steps` is the ladder of the last test, `[name, ok, detail, ms]` each; `last_test_models` the
    names the endpoint gave, at most 200. None: not known.

    The three `max_` are over all workers together; None is no such limit.
    """

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(80), unique=True)
    base_url: Mapped[str] = mapped_column(sa.String(500))
    secret_encrypted: Mapped[str | None] = mapped_column(sa.Text)
    last_four: Mapped[str] = mapped_column(sa.String(4), default="")
    fingerprint: Mapped[str] = mapped_column(sa.String(12), default="")
    default_model: Mapped[str] = mapped_column(sa.String(200), default="")
    parameters: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    max_at_once: Mapped[int | None]
    max_per_minute: Mapped[int | None]
    max_tokens_per_minute: Mapped[int | None]
    state: Mapped[TokenState] = mapped_column(enum_of(TokenState), default=TokenState.active)
    paused_reason: Mapped[str] = mapped_column(sa.String(500), default="")
    last_test_at: Mapped[datetime | None]
    last_test_ok: Mapped[bool | None]
    last_test_detail: Mapped[str] = mapped_column(sa.String(1000), default="")
    last_test_steps: Mapped[list[Any] | None] = mapped_column(Json)
    last_test_models: Mapped[list[Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    created_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("account.id", ondelete="SET NULL"))

    @property
    def call_limits(self) -> CallLimits:
        """How often it may be used."""
        return CallLimits(self.max_at_once, self.max_per_minute, self.max_tokens_per_minute)

    def __str__(self) -> str:
        return self.name
