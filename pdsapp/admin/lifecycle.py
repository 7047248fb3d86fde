"""The pages on which an experiment is started, ended and, when archived, deleted."""

from dataclasses import dataclass
from typing import Any

from flask import abort, current_app, flash, redirect, request
from flask_admin import expose
from markupsafe import Markup
from wtforms import BooleanField, StringField

from ..attempts.words import several
from ..config import Settings
from ..domain.protocol import MOST_REASON
from ..domain.reasons import UNDER_WAY, ExperimentState
from ..errors import BadInput
from ..extensions import db
from ..models import Experiment, utc_now
from ..services import deletion, lifecycle, pauses, start_checks, starting
from ..services.start_checks import CheckLine, Place
from ..web import access
from . import asking, cells
from .base import Screen
from .forms import Form, Needed
from .row_actions import LinkAction, PostAction

# Where a line of the checklist is mended: the screen's endpoint, and what the link says.
REMEDIES = {
    Place.twins: ("digitaltwin.index_view", "Twins"),
    Place.token: ("apitoken.details_view", "Test it"),
    Place.schedules: ("schedule.index_view", "Schedules"),
    Place.schedule: ("schedule.details_view", "Look at it"),
    Place.processes: ("activity.stream", "Activity"),
    Place.experiment: ("experiment.edit_view", "Edit"),
    Place.prompt: ("experiment.prompt", "Prompt"),
}
OF_EXPERIMENT = (Place.experiment, Place.prompt)
LISTS = (Place.twins, Place.schedules, Place.processes)


class StartForm(Form):
    """What people say when they start an experiment."""

    archives_rehearsal = BooleanField(
        "Archive the rehearsal",
        default=True,
        description="Its posts leave the feed, and no twin reads or counts them; nothing is deleted. A post "
        "that belongs to the study can be shown again on its own page. Without the tick they stay there.",
    )
    accepts_warnings = BooleanField(
        "Start anyway",
        description="What is marked “look” above is meant as it is, and is written into the protocol.",
    )
    switches_on = BooleanField("Switch on its schedules")


class EndForm(Form):
    """Why an experiment is ended."""

    reason = StringField(
        "Reason",
        render_kw={"maxlength": MOST_REASON, "autocomplete": "off"},
        description="Kept with the protocol. For example: all sections have finished",
    )


class DeleteForm(Form):
    """The name, typed, of what is to be deleted."""

    name = StringField(
        "Its name",
        validators=[Needed()],
        render_kw={"autocomplete": "off", "spellcheck": "false"},
        description="Type the name of the experiment exactly as it stands above.",
    )


@dataclass(frozen=True)
class CheckRow:
    """A line of the checklist as the page shows it; `url` "" where there is nothing to mend."""

    state: Markup
    title: str
    words: str
    url: str
    remedy: str


class Lifecycle(Screen):
    """Starting, ending, archiving and deleting experiments."""

    @expose("/start/", methods=("GET", "POST"))
    def start(self):
        """The checklist, then the start."""
        row = self.get_changeable(request.values.get("id"))
        if row.state != ExperimentState.draft:
            raise BadInput(f"{row} is {row.state}: only a draft is started.")
        form = StartForm(self.posted())
        if request.method == "POST" and form.validate():
            made = self._write(
                form,
                lambda session, now, account: starting.start(
                    session, row, _settings(), now, account=account, switches_on=form.switches_on.data,
                    archives_rehearsal=form.archives_rehearsal.data,
                    accepts_warnings=form.accepts_warnings.data,
                ),
            )  # fmt: skip
            if made is not None:
                count = len(made.switched_on)
                switched = f"{several(count, 'schedule')} switched on. " if count else ""
                flash(f"{row} is running. {switched}{made.effect.words}".strip(), "success")
                for schedule in made.switched_on:
                    asking.project(schedule)
                return redirect(self.get_url(".details_view", id=row.id))
        (outlook,) = starting.outlooks(
            db.session(), [row], _settings(), utc_now(),
            switches_on=form.switches_on.data, account=access.account(),
        )  # fmt: skip
        lines = outlook.lines
        if not start_checks.to_accept(lines):
            del form.accepts_warnings
        if outlook.off:
            names = ", ".join(f"“{schedule.name}”" for schedule in outlook.off)
            form.switches_on.description = f"{names}: off as yet; fires with its next slot, not at once."
        else:
            del form.switches_on
        return self._form_page(
            "admin/experiment/start.html", form, self.get_url(".details_view", id=row.id), model=row,
            checks=[self._check_row(row, line) for line in lines],
            is_blocked=bool(start_checks.blocking(lines)),
            rehearsal=lifecycle.rehearsal_of(db.session(), row),
        )  # fmt: skip

    @expose("/end/", methods=("GET", "POST"))
    def end(self):
        """Says what ending does, then ends."""
        row = self.get_changeable(request.values.get("id"))
        if row.state not in UNDER_WAY:
            raise BadInput(f"{row} is a draft and has not begun: start it, or archive it.")
        form = EndForm(self.posted())
        if request.method == "POST" and form.validate():
            effect = self._write(
                form,
                lambda session, now, account: lifecycle.end(
                    session, row, now, reason=form.reason.data or "", account=account
                ),
            )
            if effect is not None:
                flash(f"{row} has ended. {effect.words}".strip(), "success")
                return redirect(self.get_url(".details_view", id=row.id))
        waiting, running = pauses.unfinished_of(db.session(), row)
        return self._form_page(
            "admin/experiment/end.html", form, self.get_url(".details_view", id=row.id), model=row,
            waiting=waiting, running=running,
        )  # fmt: skip

    @expose("/archive/", methods=("POST",))
    def archive(self):
        """Takes an experiment off the lists for good."""
        row = self.get_changeable(request.form.get("id"), even_if_over=True)
        label = str(row)
        if self.act(lambda session, now, account: lifecycle.archive(session, row, now, account)):
            flash(f"{label} is archived.", "success")
        return self.back()

    @expose("/deletion/", methods=("GET", "POST"))
    def deletion(self):
        """Says what would be deleted, asks for the name, then begins with it."""
        if not access.may_administer():
            abort(403)
        row = self.get_changeable(request.values.get("id"), even_if_over=True)
        if row.state != ExperimentState.archived:
            raise BadInput(f"{row} is {row.state}. Archive it first: only archived ones are deleted.")
        form, label = DeleteForm(self.posted()), str(row)
        if request.method == "POST" and form.validate():

            def ask(session, now, account):
                deletion.ask_for_deletion(session, row, form.name.data, now, account)
                return row

            if self._write(form, ask) is not None:
                flash(f"{label} is being deleted. A scheduler does it, piece by piece.", "success")
                return redirect(self.get_url(".index_view"))
        return self._form_page(
            "admin/experiment/delete.html", form, self.get_url(".details_view", id=row.id), model=row,
            contents=deletion.contents_of(db.session(), row),
        )  # fmt: skip

    def _check_row(self, row: Experiment, line: CheckLine) -> CheckRow:
        endpoint, remedy = REMEDIES.get(line.place, ("", ""))
        key = row.id if line.place in OF_EXPERIMENT else line.row_id
        args = {"experiment": row.identifier} if line.place in LISTS else {"id": key} if key else {}
        url = self.get_url(endpoint, **args) if endpoint else ""
        return CheckRow(
            cells.pill(f"check_{line.state}", line.state.value), line.title, line.words, url, remedy
        )


def lifecycle_actions() -> list[Any]:
    """The buttons of a row: what is possible from its state."""
    return [
        LinkAction("Start …", ".start", shown_if=lambda row: row.state == ExperimentState.draft),
        LinkAction("End now …", ".end", shown_if=lambda row: row.state in UNDER_WAY, is_rare=True),
        PostAction(
            "Archive",
            ".archive",
            confirm=lambda row: (
                f"Archive {row}? Its twins are asked no more, it leaves the lists, "
                "and it cannot be brought back. Nothing of it is deleted."
            ),
            shown_if=lambda row: row.state not in (ExperimentState.archived, ExperimentState.running),
            is_rare=True,
            even_if_over=True,
        ),
        LinkAction(
            "Delete …",
            ".deletion",
            shown_if=lambda row: row.state == ExperimentState.archived and access.may_administer(),
            is_rare=True,
            even_if_over=True,
        ),
    ]


def _settings() -> Settings:
    return current_app.extensions["settings"]
