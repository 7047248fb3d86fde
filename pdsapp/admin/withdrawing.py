"""The page on which a participant is withdrawn, and which says afterwards what was erased."""

from dataclasses import dataclass
from datetime import datetime

from flask import current_app, flash, redirect, request
from flask_admin import expose
from wtforms import BooleanField, StringField, TextAreaField

from ..errors import BadInput
from ..extensions import db
from ..models import ProcessKind, Withdrawal, utc_now
from ..services import compacting, erasing, exports, heartbeats, system, withdrawals
from .base import Screen
from .forms import Form, Needed
from .row_actions import LinkAction

RENEW_SECONDS = 2


class WithdrawForm(Form):
    """What is erased besides username and display name, and the username, typed."""

    other_names = TextAreaField(
        "Other names",
        render_kw={"rows": 3, "autocomplete": "off", "spellcheck": "false"},
        description="One on each line: a first name, a nickname, how others wrote it. They are erased from "
        "the texts of others like the names above.",
    )
    only_mentions = BooleanField(
        "Erase names only behind an @",
        description="Tick this when a name is an ordinary word, like “sky”: the sentences of others keep it.",
    )
    username = StringField(
        "Its username",
        validators=[Needed()],
        render_kw={"autocomplete": "off", "spellcheck": "false"},
        description="Type the username exactly as it stands above.",
    )


@dataclass(frozen=True)
class Older:
    """Copies that may still hold what was erased: backups as (name, time), exports, and whether the database
    is a server's, whose backups are not known here."""

    backups: list[tuple[str, datetime]]
    exports: list[exports.Export]
    is_elsewhere: bool


@dataclass(frozen=True)
class Done:
    """How far it is. `state` is None when it is finished; `note` what is still to be said about the file."""

    withdrawal: Withdrawal
    state: erasing.State | None
    percent: int
    is_led: bool
    note: str
    counts: list[tuple[str, int]]
    older: Older


class Withdrawing(Screen):
    """Withdrawing participants; for who may change the experiment, also when it is over."""

    @expose("/withdraw/", methods=("GET", "POST"))
    def withdraw(self):
        """Says what is erased and asks for the username; afterwards, how far it is and what came of it."""
        row = self.get_changeable(request.values.get("id"), even_if_over=True)
        if row.is_bot:
            raise BadInput("A twin is no participant. Deactivate it instead.")
        back = self.get_url(".details_view", id=row.id)
        found = withdrawals.of_profile(db.session(), row)
        if found is not None:
            return self.render(
                "admin/profile/withdrawn.html", model=row, done=_done(found), return_url=back,
                renew=RENEW_SECONDS,
            )  # fmt: skip
        form = WithdrawForm(self.posted())
        if request.method == "POST" and form.validate():

            def ask(session, now, account):
                return withdrawals.ask(
                    session, row, form.username.data, now, account,
                    other_names=(form.other_names.data or "").splitlines(),
                    only_mentions=form.only_mentions.data,
                )  # fmt: skip

            if (made := self._write(form, ask)) is not None:
                flash(f"Their posts and profile are erased; the profile is @{made.pseudonym} now.", "success")
                return redirect(self.get_url(".withdraw", id=row.id))
        return self._form_page(
            "admin/profile/withdraw.html", form, back, model=row,
            outlook=withdrawals.outlook(db.session(), row), older=_older(row.experiment_id, None),
        )  # fmt: skip


def withdraw_actions() -> list[LinkAction]:
    """The link of a person's row, and the one to what came of it."""
    return [
        LinkAction(
            "Withdraw …", ".withdraw", shown_if=lambda row: not row.is_bot and not row.withdrawal,
            is_rare=True, even_if_over=True,
        ),
        LinkAction(
            "What was erased", ".withdraw", shown_if=lambda row: bool(row.withdrawal), is_rare=True,
            even_if_over=True,
        ),
    ]  # fmt: skip


def _done(withdrawal: Withdrawal) -> Done:
    session = db.session()
    state = None if withdrawal.finished_at else erasing.state_of(session, withdrawal)
    return Done(
        withdrawal,
        state,
        100 * state.number // state.total if state else 100,
        heartbeats.life_sign(session, ProcessKind.scheduler, utc_now()).is_alive,
        _note(withdrawal),
        [(step.words, int(withdrawal.counts.get(step.words, 0))) for step in erasing.STEPS],
        _older(withdrawal.experiment_id, withdrawal.finished_at),
    )


def _note(withdrawal: Withdrawal) -> str:
    """What is to be said about the bytes on the disk."""
    if withdrawal.finished_at is None:
        return ""
    if not compacting.is_embedded():
        return (
            "PostgreSQL keeps the bytes of changed rows until it vacuums, and in its own log and backups. "
            "Ask whoever runs it; docs/operating.md says how."
        )
    if withdrawal.compacted_at is not None:
        return "The database’s file was written anew: it holds none of it any more."
    if compacting.size() > compacting.MOST_BYTES:
        return (
            "Freed parts of the database’s file may still hold it. Writing the file anew takes too long to "
            "be done beside work: stop everything and run flask participants compact."
        )
    return "The database’s file is written anew within the next minute."


def _older(experiment_id: int, until: datetime | None) -> Older:
    settings, session = current_app.extensions["settings"], db.session()
    return Older(
        [
            (line.name, line.made_at)
            for line in system.backup_lines(settings)
            if until is None or line.made_at <= until
        ],
        exports.noted(session, experiment_id, until),
        not settings.is_embedded,
    )
