"""Who sees an experiment; for administrators."""

from flask import abort, flash, redirect, request
from flask_admin import expose

from ..extensions import db
from ..models import Experiment
from ..services import granting
from ..services.accounts import role_of
from ..web import access
from .base import Screen
from .forms import Form, TicksField


class GrantsForm(Form):
    """The accounts an experiment is granted to."""

    granted = TicksField(
        "Granted to",
        nothing="There is no account that needs a grant: administrators see every experiment.",
        description="A researcher may change it, a viewer may look at it; others do not learn of it. For "
        "example, the assistant of this section.",
    )


class Granting(Screen):
    """The page on which an experiment is granted to accounts."""

    @expose("/grants/", methods=("GET", "POST"))
    def grants(self):
        """Who sees the experiment, as boxes to tick."""
        if not access.may_administer():
            abort(403)
        row: Experiment = self.get_one(request.args.get("id"))
        session, back = db.session(), self.get_url(".details_view", id=row.id)
        present = granting.accounts_of(session, row)
        granted = {account.id for account in present}
        mark = granting.mark_of(present)
        form = GrantsForm(self.posted(), data={"granted": granted, "edit_version": mark})
        accounts = granting.grantable_accounts(session)
        form.granted.offer([(each.id, f"{each.email}, {role_of(each)}") for each in accounts])
        if request.method == "POST" and form.validate():

            def change(session, now, account):
                granting.grant_accounts(session, row, form.granted.chosen(), form.seen, now, account)
                return row

            if self._write(form, change) is not None:
                flash(
                    f"{row} is granted to {len(form.granted.chosen()):,} of {len(accounts):,} accounts.",
                    "success",
                )
                return redirect(back)
        return self._form_page("admin/experiment/grants.html", form, back, model=row)
