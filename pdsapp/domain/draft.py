"""What goes into writing one post, and what comes out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from .length import LengthTarget
from .policy import PostingPolicy
from .prompt import ContextPost, Messages, PromptTemplates, Speaker
from .reasons import Reason


class CallFailed(Exception):
    """The model gave nothing that can be used, and there are no further calls to make."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Brief:
    """Everything one post is written from. `messages` is what the model is asked first."""

    speaker: Speaker
    templates: PromptTemplates
    policy: PostingPolicy
    context: tuple[ContextPost, ...]
    length: LengthTarget
    now: datetime
    messages: Messages


@dataclass(frozen=True)
class Draft:
    """A text ready to be published.

    `raw` is the reply it was made from; `steps` what cleaning removed; `flags` what fitting did
    (`cut_at_sentence`, `cut_at_word`, `too_short`, `rewrite_failed`).
    """

    text: str
    raw: str
    steps: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


Ask = Callable[..., Awaitable[str]]
"""`await ask(messages, is_rewrite=False)`: the reply's text, recorded; raises CallFailed."""
