"""The base of every screen: closed by default, written through services, allow-lists only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from flask import abort, flash, redirect, request
from flask_admin import expose
from flask_admin.model.base import FormOpts
from markupsafe import Markup
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from ..database import set_read_only
from ..errors import BadInput, ReadOnly
from ..extensions import db
from ..models import Account, utc_now
from ..services import exports
from ..services.chunks import rows_by_id
from ..services.editing import is_open
from ..services.lookup import parse_key
from ..web import access, frame
from .reading import MOST_EXPORTED, Reading
from .row_actions import EditAction

WRITING_VIEWS = frozenset({"create_view", "edit_view", "delete_view", "action_view"})
TAKEN_MEANWHILE = (
    "Somebody else saved something with the same name in this moment. Nothing was saved; try again."
)
USED_MEANWHILE = (
    "Somebody else changed something that this depends on in this moment. Nothing was changed; look at it "
    "and try again."
)


class Screen(Reading):
    """A list with search, filters, details and forms.

    A screen says what may be seen and typed (`column_list`, `column_details_list`, `column_export_list`,
    `form_columns`) and how a form becomes a change (`values`, `add`, `change`, `remove`).
    """

    offers_create: ClassVar[bool] = True
    offers_edit: ClassVar[bool] = True
    offers_delete: ClassVar[bool] = False
    offers_export: ClassVar[bool] = True

    form_columns: Sequence[str] = ()
    column_list: Sequence[str] = ()
    column_details_list: Sequence[str] = ()
    column_export_list: Sequence[str] = ()
    column_sortable_list = ()
    column_default_sort = ("id", True)
    column_formatters_export: ClassVar[dict] = {}
    column_auto_select_related = False

    can_view_details = True
    can_set_page_size = True
    page_size = 50
    page_size_options = (20, 50, 100)
    simple_list_pager = True
    export_max_rows = MOST_EXPORTED + 1

    lead = ""
    create_lead = ""
    edit_lead = ""
    form_sections: Sequence[tuple] = ()
    details_sections: Sequence[tuple] = ()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        offered = {
            "create_view": self.offers_create,
            "edit_view": self.offers_edit,
            "delete_view": self.offers_delete,
            "export": self.offers_export,
            "action_view": len(self._actions) > 1,  # the one every view has is deleting
            "ajax_lookup": False,
            "ajax_update": False,
        }
        self._urls = [each for each in self._urls if offered.get(each[1], True)]

    # who may do what

    @property
    def can_create(self) -> bool:
        return self.offers_create and access.may_write()

    @property
    def can_edit(self) -> bool:
        return self.offers_edit and access.may_write()

    @property
    def can_delete(self) -> bool:
        return self.offers_delete and access.may_write()

    @property
    def can_export(self) -> bool:
        return self.offers_export

    def is_accessible(self) -> bool:
        """Whether somebody with a role is signed in."""
        return access.role() is not None

    def _handle_view(self, name: str, **kwargs: Any):
        if not self.is_accessible():
            abort(403)
        is_writing = name in WRITING_VIEWS or request.method not in access.SAFE_METHODS
        if is_writing and not access.may_write():
            abort(403)

    def is_action_allowed(self, name: str) -> bool:
        """Bulk actions are for those who may write; deleting in bulk is for nobody."""
        return name != "delete" and access.may_write()

    def get_list_row_actions(self) -> list:
        """The row's actions. Its page is behind its name, deleting on its edit page."""
        edit = [EditAction(self.offers_edit_of)] if self.can_edit else []
        return [*(self.column_extra_row_actions or []), *edit]

    def may_edit(self, _row: Any) -> bool:
        """Whether this row is one that is edited."""
        return True

    def offers_edit_of(self, row: Any) -> bool:
        """Whether the row's form is offered: not where its experiment is only read."""
        return self.can_edit and is_open(row) and self.may_edit(row)

    def values(self, row: Any) -> dict[str, Any]:
        """What the edit form shows at first."""
        return {name: getattr(row, name) for name in self.form_columns if hasattr(row, name)}

    def prepare_form(self, form: Any, row: Any | None) -> None:
        """Sets what depends on the database: choices of select fields."""

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> Any:
        """The new row, not committed. Raises BadInput."""
        raise BadInput(f"A {self.noun} is not added here.")

    def change(self, session: Session, row: Any, form: Any, now: datetime, account: Account) -> None:
        """Changes the row, not committed. Raises BadInput."""
        raise BadInput(f"A {self.noun} is not edited here.")

    def remove(self, session: Session, row: Any, now: datetime, account: Account) -> None:
        """Deletes the row, not committed. Raises BadInput while something points at it."""
        raise BadInput(f"A {self.noun} is not deleted here.")

    def saved(self, row: Any) -> None:
        """Tells others what was committed."""

    def render(self, template: str, **kwargs: Any) -> str:
        """The page; a list of one experiment has no column for it, a row's top bar is its experiment's."""
        if (row := kwargs.get("model")) is not None:
            self.speak_of(row)
        if "list_columns" in kwargs and frame.current_experiment() is not None:
            kwargs["list_columns"] = [pair for pair in kwargs["list_columns"] if pair[0] != "experiment"]
        return super().render(template, **kwargs)

    def speak_of(self, row: Any) -> None:
        """Makes the top bar that of the row's experiment; of all, for a schedule that asks all."""
        if self.is_of_experiments:
            frame.speak_of(row.experiment)

    def posted(self) -> Any | None:
        """What the form was filled with; None when it is opened."""
        return request.form if request.method == "POST" else None

    def create_form(self, obj: Any = None) -> Any:
        """An empty form."""
        form = self._create_form_class(self.posted())
        self.prepare_form(form, None)
        return form

    def edit_form(self, obj: Any = None) -> Any:
        """A form with the row's values."""
        values = self.values(obj) | {"edit_version": getattr(obj, "edit_version", None)}
        form = self._edit_form_class(self.posted(), data=values)
        self.prepare_form(form, obj)
        return form

    @expose("/new/", methods=("GET", "POST"))
    def create_view(self):
        """The form for a new row."""
        return_url = access.redirect_target() or self.get_url(".index_view")
        form = self.create_form()
        if request.method == "POST" and form.validate():
            row = self._write(form, lambda session, now, account: self.add(session, form, now, account))
            if row is not None:
                self.saved(row)
                flash(self.words_for(row, "Added"), "success")
                if "_add_another" in request.form:
                    return redirect(self.get_url(".create_view", url=return_url))
                return redirect(self.get_save_return_url(row, is_created=True))
        return self._form_page(self.create_template, form, return_url)

    @expose("/edit/", methods=("GET", "POST"))
    def edit_view(self):
        """The form for a row that is there."""
        return_url = access.redirect_target() or self.get_url(".index_view")
        row = self.get_changeable(request.args.get("id"))
        if not self.may_edit(row):
            raise BadInput(f"{self.record_title(row)} is not edited here.")
        form = self.edit_form(obj=row)
        if request.method == "POST" and form.validate():

            def change(session: Session, now: datetime, account: Account):
                self.change(session, row, form, now, account)
                return row

            if self._write(form, change) is not None:
                self.saved(row)
                flash(self.words_for(row, "Saved"), "success")
                return redirect(self.get_save_return_url(row, is_created=False))
        return self._form_page(self.edit_template, form, return_url, model=row)

    @expose("/details/")
    def details_view(self):
        """The page of one row."""
        return self.details_page(self.get_one(request.args.get("id")))

    def details_page(self, row: Any, **more: Any) -> str:
        """A row's page as HTML; `more` are values for its template."""
        self.enrich(db.session(), [row])
        return self.render(
            self.details_template,
            model=row,
            details_columns=self._details_columns,
            get_value=self.get_detail_value,
            return_url=access.redirect_target() or self.get_url(".index_view"),
            **more,
        )

    @expose("/delete/", methods=("POST",))
    def delete_view(self):
        """Deletes a row nothing points at."""
        row = self.get_one(request.form.get("id"))
        title = self.record_title(row)

        def remove(session: Session, now: datetime, account: Account) -> None:
            self.remove(session, row, now, account)

        if self.act(remove):
            flash(f"Deleted {title}.", "success")
            return redirect(self.get_url(".index_view"))
        return redirect(access.redirect_target() or self.get_url(".index_view"))

    def get_save_return_url(self, model: Any, is_created: bool = False) -> str:
        """Where one goes after saving: the row's page."""
        return self.get_url(".details_view", id=model.id)

    def words_for(self, row: Any, done: str) -> Markup:
        """ "Saved @maya_reads.", with a link to its page."""
        url = self.get_url(".details_view", id=row.id)
        return Markup('{} <a href="{}">{}</a>.').format(done, url, self.record_title(row))

    def act(self, change) -> bool:
        """Runs `change(session, now, account)` and commits; a BadInput, and what somebody else has just made
        impossible, is shown and changes nothing."""
        session = db.session()
        try:
            change(session, utc_now(), access.account())
            session.commit()
        except ReadOnly:  # no page offers it: it was ended since, and that is an answer of its own
            session.rollback()
            raise
        except BadInput as error:
            session.rollback()
            flash(str(error), "error")
            return False
        except (IntegrityError, StaleDataError):  # it has come into use, or has gone, since it was looked at
            session.rollback()
            flash(USED_MEANWHILE, "error")
            return False
        return True

    def selected(self, session: Session, ids: Sequence[str]) -> list[Any]:
        """The rows that were ticked, in the order of their ids."""
        keys = [key for text in ids if (key := parse_key(text)) is not None]
        return rows_by_id(session.query(self.model), self.model.id, keys)

    def handle_action(self, return_view: str | None = None):
        """Does what was chosen for the ticked rows; back to the list where the form's address is not ours."""
        return super().handle_action(return_view if access.redirect_target() else "index_view")

    def back(self):
        """To where the button was pressed."""
        return redirect(access.redirect_target() or self.get_url(".index_view"))

    @expose("/export/<export_type>/")
    def export(self, export_type: str):
        """The list as CSV. Flask-Admin answers other types by going wherever the address says."""
        if export_type != "csv" or not self.can_export:
            abort(404)
        if self.is_of_experiments and access.takes_file():
            experiment = frame.current_experiment()
            exports.note(self.plural, experiment.id if experiment else None, utc_now(), access.account())
        return super().export(export_type)

    def end_transaction(self) -> None:
        """Ends what this request has open, before something slow or in transactions of its own is done.

        From here on it only reads.
        """
        db.session.rollback()
        set_read_only(True)

    def _write(self, form: Any, change) -> Any | None:
        session = db.session()
        try:
            row = change(session, utc_now(), access.account())
            session.commit()
        except BadInput as error:
            session.rollback()
            form.put_error(error)
        except IntegrityError:
            session.rollback()
            form.put_error(BadInput(TAKEN_MEANWHILE))
        else:
            return row
        return None

    def _form_page(self, template: str, form: Any, return_url: str, **more: Any):
        if request.method == "POST":
            set_read_only(True)
            form.ask_secrets_again()
        opts = FormOpts(widget_args=self.form_widget_args, form_rules=None)
        page = self.render(template, form=form, form_opts=opts, return_url=return_url, **more)
        return page, 400 if request.method == "POST" else 200
