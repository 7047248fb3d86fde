"""What an attempt's messages were, rebuilt from stored rows and checked against the hash of what was sent."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ...attempts import replay as replaying
from ...attempts.deciding import brief_of
from ...attempts.erased import WAS_ERASED, was_erased
from ...attempts.replay import Replay
from ...domain.draft import Brief
from ...domain.prompt import Messages, messages_hash, render_rewrite
from ...domain.reasons import TERMINAL_STATES
from ...dt_service import DTService
from ...models import Attempt, ModelCall

NOT_LOADED = "PDS_DT_SERVICE names a class that cannot be loaded here"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Message:
    """One message as it was sent."""

    role: str
    content: str


@dataclass(frozen=True)
class Sent:
    """The messages of an attempt in order, the rewrite request last. `is_same`: the stored hash is theirs."""

    messages: tuple[Message, ...]
    is_same: bool
    note: str


def rebuilt_brief(session: Session, attempt: Attempt, service: DTService | None) -> Brief | str | None:
    """What the post was written from, or why it cannot be rebuilt; None if no model was to be asked."""
    if not attempt.messages_sha256:
        return None
    if service is None:
        return NOT_LOADED
    return _guarded(lambda: brief_of(session, attempt, service))


def sent_messages(session: Session, attempt: Attempt, brief: Brief | str, service: DTService | None) -> Sent:
    """The messages of all calls, and whether they are what was sent."""
    if isinstance(brief, str):
        return Sent((), False, f"cannot be rebuilt: {brief}")
    messages = [Message(message["role"], message["content"]) for message in brief.messages]
    digest = messages_hash(brief.messages)
    is_same = digest == attempt.messages_sha256
    if is_same:
        note = f"rebuilt from stored rows; SHA-256 {digest[:12]} is that of what was sent"
    elif was_erased(session, attempt):
        note = f"not what was sent: {WAS_ERASED} since, and cannot be brought back"
    else:
        note = (
            f"rebuilt from stored rows, but not what was sent: SHA-256 is {digest[:12]}, "
            f"sent was {attempt.messages_sha256[:12]}"
        )
    rewrite = next((call for call in attempt.calls if call.is_rewrite), None)
    if rewrite is not None:
        request = _rewrite_request(attempt, brief, rewrite, service)
        if isinstance(request, str) and was_erased(session, attempt):
            request = WAS_ERASED
        if isinstance(request, str):
            note += f"; the rewrite request cannot be shown: {request}"
        else:
            draft, asked = request[-2:]
            messages.append(Message("assistant, the draft it was asked to rewrite", draft["content"]))
            messages.append(Message("user, the rewrite request", asked["content"]))
    return Sent(tuple(messages), is_same, note)


def curl_command(attempt: Attempt, brief: Brief | str | None) -> str:
    """The first call as a shell command, the key left to a variable; "" if it cannot be rebuilt."""
    call = next((call for call in attempt.calls if not call.is_rewrite), None)
    if (
        call is None
        or not isinstance(brief, Brief)
        or messages_hash(brief.messages) != attempt.messages_sha256
    ):
        return ""
    body = {"model": call.model_asked, "messages": [dict(m) for m in brief.messages], **call.parameters}
    return " \\\n  ".join(
        (
            f"curl {shlex.quote(call.endpoint.rstrip('/') + '/chat/completions')}",
            "-H 'Content-Type: application/json'",
            '-H "Authorization: Bearer $API_KEY"',
            f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
        )
    )


def replayed(session: Session, attempt: Attempt, service: DTService | None) -> Replay | str | None:
    """The attempt recomputed, or why it cannot be; None before it has ended."""
    if attempt.state not in TERMINAL_STATES:
        return None
    if service is None:
        return NOT_LOADED
    return _guarded(lambda: replaying.replay(session, attempt, service))


def _rewrite_request(
    attempt: Attempt, brief: Brief, rewrite: ModelCall, service: DTService
) -> Messages | str:
    first = next((call for call in attempt.calls if not call.is_rewrite and call.reply is not None), None)
    if first is None:
        return "the reply before it was not stored"
    draft = _guarded(lambda: service.clean(brief, first.reply))
    if isinstance(draft, str):
        return draft
    request = render_rewrite(brief.templates, brief.messages, draft.text, len(draft.text), brief.length)
    if messages_hash(request) != rewrite.messages_sha256:
        return "rebuilt, it is not what was sent"
    return request


def _guarded(make: Callable[[], Made]) -> Made | str:
    """What `make` gives, or what went wrong as text: the service may be somebody's own code.

    A database that does not answer is not explained away.
    """
    try:
        return make()
    except SQLAlchemyError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
