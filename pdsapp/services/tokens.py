"""API tokens: adding, changing and removing secrets, testing. A secret goes in and never comes out."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..config import Settings
from ..domain.call_limits import BOUNDS
from ..domain.reasons import TokenState
from ..errors import AddressRefused, BadInput
from ..llm.endpoint import normalize_base_url
from ..llm.guard import EndpointGuard, NameUnknown
from ..llm.secrets import SecretBox
from ..models import Account, ApiToken
from . import audit
from .fields import clean_bound, clean_line, clean_parameters

RESOLVE_SECONDS = 2.0


def add_token(
    session: Session,
    box: SecretBox,
    name: str,
    base_url: str,
    secret: str | None,
    default_model: str,
    now: datetime,
    parameters: str | dict | None = None,
    account: Account | None = None,
    **limits: str | int | None,
) -> ApiToken:
    """A new token. The caller commits. Raises BadInput, also on a taken name.

    `limits`: see `put_limits`.
    """
    token = ApiToken(created_at=now, created_by_id=account.id if account else None)
    token.name = clean_token_name(session, name)
    token.base_url = normalize_base_url(base_url)
    token.default_model = clean_line(default_model, "default_model", 200, required=False)
    token.parameters = clean_parameters(parameters)
    put_limits(token, limits)
    if secret:
        put_secret(token, box, secret)
    session.add(token)
    audit.record(session, "create", token, now, account, after=shown(token))
    return token


def require_allowed(settings: Settings, base_url: str) -> None:
    """Returns if this installation would ask that address. Raises BadInput with the setting that allows it.

    For the doors, before they write: it may take RESOLVE_SECONDS to look the name up, which must not happen
    while a transaction is open. An https name that does not resolve passes: it may do so later, and each
    connection is checked again.
    """
    url = normalize_base_url(base_url)
    guard = EndpointGuard(settings.allowed_hosts)

    async def look() -> None:
        async with asyncio.timeout(RESOLVE_SECONDS):
            await guard.check_async(url)

    try:
        asyncio.run(look())
    except AddressRefused as error:
        raise BadInput(str(error), "base_url") from None
    except (NameUnknown, TimeoutError):
        host = urlsplit(url).hostname or ""
        if url.startswith("http:") and not guard.lists_host(host):
            raise BadInput(
                f"{host} does not resolve, and plain http is only for what PDS_LLM_ALLOWED_HOSTS lists. "
                "Check the name, use https, or have an administrator allow the host there.",
                "base_url",
            ) from None


def clean_token_name(session: Session, name: str, own_id: int | None = None) -> str:
    """A free token name. Raises BadInput when another token has it."""
    name = clean_line(name, "name", 80)
    taken = session.scalars(
        select(ApiToken.id).where(func.lower(ApiToken.name) == name.lower(), ApiToken.id != (own_id or 0))
    ).first()
    if taken is not None:
        raise BadInput(f"There is a token named “{name}” already. Choose another name.", "name")
    return name


def put_secret(token: ApiToken, box: SecretBox, secret: str) -> None:
    """Encrypts the secret for the token's present base URL. Raises BadInput on an impossible one."""
    secret = secret.strip()
    if not secret.isascii() or not secret.isprintable() or " " in secret or len(secret) > 2000:
        raise BadInput("A key has only visible ASCII characters and no spaces. Paste it again.", "secret")
    sealed = box.seal(secret, token.base_url)
    token.secret_encrypted = sealed.encrypted
    token.last_four = sealed.last_four
    token.fingerprint = sealed.fingerprint


def put_limits(token: ApiToken, limits: Mapping[str, str | int | None]) -> None:
    """Sets those of max_at_once, max_per_minute and max_tokens_per_minute that are given; empty or "none" is
    no limit. Raises BadInput."""
    bounds = {bound.field: bound for bound in BOUNDS}
    for name, value in limits.items():
        setattr(token, name, clean_bound(value, bounds[name]))


def remove_secret(token: ApiToken) -> None:
    """Forgets the secret: the endpoint is asked without a key from now on."""
    token.secret_encrypted = None
    token.last_four = ""
    token.fingerprint = ""


def change_base_url(token: ApiToken, base_url: str, has_new_secret: bool) -> None:
    """Moves the token to another address. Raises BadInput unless its key is entered again."""
    url = normalize_base_url(base_url)
    if url != token.base_url and token.secret_encrypted is not None and not has_new_secret:
        raise BadInput(
            "A key belongs to its address. Enter the key again for the new address, or remove it.", "secret"
        )
    token.base_url = url


def shown(token: ApiToken) -> dict[str, str]:
    """What may be seen of a token, in lists, logs and the audit trail."""
    return {
        "name": token.name,
        "base_url": token.base_url,
        "default_model": token.default_model or "",
        "secret": f"…{token.last_four}" if token.secret_encrypted else "none",
        "limits": token.call_limits.words,
        "state": (token.state or TokenState.active).value,
    }
