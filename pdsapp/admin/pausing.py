"""Pausing rows of a screen: a page that asks for the reason, and the buttons that lead to it."""

from collections.abc import Callable
from typing import Any, ClassVar

from flask import abort, flash, redirect, request
from flask_admin import expose
from markupsafe import Markup

from ..attempts.obstacles import hold_of
from ..errors import BadInput
from ..extensions import db
from ..models import utc_now
from ..services import pauses
from ..web import access
from ..web.pausing import flash_effect, stop_question
from . import cells
from .base import Screen
from .row_actions import LinkAction, PostAction


class PausingScreen(Screen):
    """A screen whose rows can be paused and resumed, and stopped if `stops` says how.

    `pauses_with`, `stops` and `resumes` are use cases of `services.pauses`; `paused_words`, `stopped_words`
    and `resumed_words` say what was done, `pause_note` what pausing does. `why_not` says of a row why there
    is nothing to pause, "" if there is; its buttons ask the same.
    """

    pauses_with: ClassVar[Callable]
    stops: ClassVar[Callable | None] = None
    resumes: ClassVar[Callable]
    paused_words: ClassVar[str]
    stopped_words: ClassVar[str] = ""
    resumed_words: ClassVar[str]
    pause_note: ClassVar[str]
    why_not: ClassVar[Callable[[Any], str]]

    @expose("/pause/", methods=("GET", "POST"))
    def pause(self):
        """Asks for the reason, then pauses."""
        if request.method == "GET":
            return self._ask()
        return self._do(type(self).pauses_with, self.paused_words)

    @expose("/stop/", methods=("POST",))
    def stop(self):
        """Pauses, and refuses what is being written."""
        if type(self).stops is None:
            abort(404)
        return self._do(type(self).stops, self.stopped_words)

    @expose("/resume/", methods=("POST",))
    def resume(self):
        """Lets it go on with what comes next."""
        row = self.get_one(request.form.get("id"))
        name = self.record_title(row)
        resumes = type(self).resumes
        if self.act(lambda session, now, account: resumes(session, row, now, account=account)):
            self.saved_pause(row)
            flash(self.resumed_words.format(name), "success")
        return self.back()

    def saved_pause(self, row: Any) -> None:
        """Tells others what was committed."""

    def stop_question(self, row: Any) -> str:
        """What is asked before a stop."""
        return stop_question(self.record_title(row))

    def _ask(self):
        row = self.get_changeable(request.args.get("id"))
        self._refuse(row)
        if pauses.is_paused(row) and not may_still_stop(row, type(self).stops is not None):
            flash(f"{self.record_title(row)} is {hold_of(row)} already.", "info")
            return redirect(self.get_url(".details_view", id=row.id))
        waiting, running = pauses.unfinished_of(db.session(), row)
        return self.render(
            "admin/model/pause.html",
            model=row,
            waiting=waiting,
            running=running,
            is_paused=pauses.is_paused(row),
            has_stop=type(self).stops is not None,
            return_url=access.redirect_target() or self.get_url(".index_view"),
        )

    def _do(self, act: Callable, words: str):
        row = self.get_one(request.form.get("id"))
        self._refuse(row)
        name, reason, effects = self.record_title(row), request.form.get("reason", ""), []
        if self.act(
            lambda session, now, account: effects.append(act(session, row, now, reason, account=account))
        ):
            flash_effect(row, words.format(name), effects[0])
            pauses.cancel_rest(row, effects[0], utc_now())
        return self.back()

    def _refuse(self, row: Any) -> None:
        if words := type(self).why_not(row):
            raise BadInput(words)


def may_still_stop(row: Any, has_stop: bool) -> bool:
    """Whether a paused row may be stopped as well."""
    return has_stop and pauses.is_paused(row) and not row.is_stopped


def state_with_pause(state: Markup, row: Any, zone: str) -> Markup:
    """A state, and under it who paused the row, since when and why."""
    return cells.with_reason(state, pauses.words_of(row, zone)) if pauses.is_paused(row) else state


def pause_actions(why_not: Callable[[Any], str], has_stop: bool = False, is_rare: bool = False):
    """The row's buttons: pause (and stop) through the page that asks why, resume at once."""

    def may_stop(row: Any) -> bool:
        return may_still_stop(row, has_stop) and not why_not(row)

    return [
        LinkAction(
            "Pause or stop …" if has_stop else "Pause …", ".pause",
            shown_if=lambda row: not why_not(row) and not pauses.is_paused(row), is_rare=is_rare,
        ),
        *([LinkAction("Stop now …", ".pause", shown_if=may_stop, is_rare=is_rare)] if has_stop else []),
        PostAction("Resume", ".resume", shown_if=pauses.is_paused, is_rare=is_rare),
    ]  # fmt: skip
