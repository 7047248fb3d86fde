"""Copies of an experiment: making them, comparing them, bringing them in step again."""

from dataclasses import dataclass

from flask import flash, redirect, request
from flask_admin import expose
from markupsafe import Markup
from wtforms import BooleanField, TextAreaField

from ..domain.protocol import PART_LABELS, ProtocolPart
from ..errors import BadInput
from ..extensions import db
from ..models import Experiment
from ..services import cloning, protocol
from ..services.cloning import Sibling
from ..web import access
from ..web.protocol_view import Difference, differences
from . import cells
from .base import Screen
from .forms import Clean, Form, Needed


class CloneForm(Form):
    """What people say about copies."""

    names = TextAreaField(
        "Names, one a line",
        validators=[Needed(), Clean(cloning.read_names)],
        render_kw={"rows": 6, "placeholder": "Section 1\nSection 2\nSection 3"},
        description=f"Each line becomes an experiment with a seed of its own, {cloning.MOST_COPIES} at most.",
    )
    with_twins = BooleanField(
        "With its twins",
        default=True,
        description="Profiles, persona versions, tokens, models and tags, as they are now.",
    )
    with_schedules = BooleanField(
        "With its schedules",
        default=True,
        description="Switched off: switch them on in each copy when it is to begin.",
    )


@dataclass(frozen=True)
class SiblingRow:
    """A sibling with what differs from the experiment it is compared with."""

    sibling: Sibling
    state: Markup
    url: str
    policy: tuple[Difference, ...]
    prompt: tuple[Difference, ...]


class Cloning(Screen):
    """The pages on which an experiment is copied, and compared with its copies."""

    @expose("/clone/", methods=("GET", "POST"))
    def clone(self):
        """Asks for names, then makes the copies."""
        row = self.get_changeable(request.values.get("id"), even_if_over=True)
        form = CloneForm(request.form if request.method == "POST" else None)
        if request.method == "POST" and form.validate():

            def make(session, now, account):
                return cloning.clone(
                    session, row, cloning.read_names(form.names.data), now,
                    with_twins=form.with_twins.data, with_schedules=form.with_schedules.data, account=account,
                )  # fmt: skip

            copies = self._write(form, make)
            if copies is not None:
                flash(self._copied_words(row, copies, form), "success")
                return redirect(self.get_url(".siblings", id=row.id))
        return self._form_page(
            "admin/experiment/clone.html", form, self.get_url(".details_view", id=row.id), model=row
        )

    @expose("/siblings/")
    def siblings(self):
        """The experiment beside its copies: what differs, and how to bring them in step."""
        row = self.get_one(request.args.get("id"))
        found = cloning.siblings_of(db.session(), row)
        return self.render(
            "admin/experiment/siblings.html",
            model=row,
            rows=[self._sibling_row(row, each) for each in found],
            needs_reason=any(protocol.needs_reason(each.experiment) for each in found[1:]),
            may_copy=access.may_change(row),
            return_url=self.get_url(".details_view", id=row.id),
        )

    @expose("/copy-part/", methods=("POST",))
    def copy_part(self):
        """Gives chosen siblings this experiment's policy or prompt."""
        row = self.get_changeable(request.values.get("id"), even_if_over=True)
        parts = (ProtocolPart.policy, ProtocolPart.prompt)
        part = next((each for each in parts if each == request.form.get("part")), None)
        if part is None:
            raise BadInput("Choose what to copy: the posting policy or the prompt.")
        made = []

        def copy(session, now, account):
            targets = self.selected(session, request.form.getlist("target"))
            reason = request.form.get("reason", "")
            made.extend(cloning.copy_part(session, row, targets, part, now, reason, account))

        if self.act(copy):
            count = f"{len(made)} experiment{'' if len(made) == 1 else 's'}"
            words = f"The {PART_LABELS[part]} of {row} is now that of {count} more."
            flash(words if made else "Nothing had to change: they are the same already.", "success")
        return redirect(self.get_url(".siblings", id=row.id))

    def _sibling_row(self, row: Experiment, sibling: Sibling) -> SiblingRow:
        other = sibling.experiment
        return SiblingRow(
            sibling,
            cells.experiment_pill(other.state.value),
            self.get_url(".details_view", id=other.id),
            differences(ProtocolPart.policy, other.policy.body, row.policy.body),
            differences(ProtocolPart.prompt, other.prompt_version.body, row.prompt_version.body),
        )

    def _copied_words(self, row: Experiment, copies: list[Experiment], form: CloneForm) -> Markup:
        """What was copied, with links to the copies and to the page that starts them."""
        links = [cells.link(self.get_url(".details_view", id=copy.id), str(copy)) for copy in copies]
        off = " Their schedules are switched off." if form.with_schedules.data else ""
        start = cells.link(self.get_url(".start_several", id=[copy.id for copy in copies]), "Start …")
        names = cells.first_of(links, comma=cells.COMMA)
        return Markup("Copied {} as {}.{} {}").format(row, names, off, start)
