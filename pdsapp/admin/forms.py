"""What the forms of the screens are made of."""

from collections.abc import Callable
from typing import Any

from flask_admin.form import BaseForm
from sqlalchemy.orm import Session
from wtforms import (
    HiddenField,
    IntegerField,
    PasswordField,
    SelectField,
    SelectMultipleField,
    StringField,
    ValidationError,
)
from wtforms.validators import InputRequired

from ..domain.protocol import MOST_REASON
from ..errors import BadInput
from ..services.fields import clean_line
from ..services.lookup import parse_key

NEEDED = "This must not be empty."
NOT_OFFERED = "One of these is not offered here any more. Open the page again and choose anew."


class Form(BaseForm):
    """A form of a screen. `edit_version` is the version of the row the form was made from."""

    edit_version = HiddenField()

    @property
    def seen(self) -> int | None:
        """The version the person saw, None when the field holds no number."""
        text = self.edit_version.data
        if not isinstance(text, str):  # not sent back: it is not known what the person saw
            return None
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None

    def ask_secrets_again(self) -> None:
        """Says at each secret that was typed that the page does not hold it any more: pages never do."""
        for field in self:
            if isinstance(field, PasswordField) and field.data:
                field.errors = [*field.errors, "It is never kept in a page: enter it again."]

    def put_error(self, error: BadInput) -> None:
        """Shows the error at its field; above the form when it names none."""
        field = self[error.field] if error.field and error.field in self else None
        if field is None:
            self.form_errors = [*self.form_errors, str(error)]
        else:
            field.errors = [*field.errors, str(error)]


class Needed(InputRequired):
    """The field must not be empty."""

    def __init__(self):
        super().__init__(NEEDED)


class Clean:
    """A validator from a function of the services that raises BadInput on what cannot be used."""

    def __init__(self, clean: Callable[[str], Any]):
        self.clean = clean

    def __call__(self, _form, field) -> None:
        if not (field.data or "").strip():
            return
        try:
            self.clean(field.data)
        except BadInput as error:
            raise ValidationError(str(error)) from None


EVERY_ROW = "all"
MOST_OFFERED = 1_000


class RowField(SelectField):
    """A choice among rows by their integer id; the empty choice is None. Choices are set per request.

    `added_by` is the endpoint that adds such a row: the way on while there is none to choose. With `every`,
    the words for that, all rows can be chosen at once, which is None too.
    """

    def __init__(self, label: str, empty: str = "choose …", added_by: str = "", **kwargs):
        super().__init__(label, coerce=str, choices={}, **kwargs)
        self.empty = empty
        self.every = ""
        self.added_by = added_by

    def offer(self, pairs: list[tuple[int, str]]) -> None:
        """Offers these rows, the empty choice first, all at once last; says where the list was cut."""
        every = {EVERY_ROW: self.every} if self.every else {}
        cut = f" (only the first {MOST_OFFERED:,} are offered)" if len(pairs) >= MOST_OFFERED else ""
        self.choices = {"": f"{self.empty}{cut}"} | {str(key): label for key, label in pairs} | every

    @property
    def lacks_rows(self) -> bool:
        """Whether there is no row to choose."""
        return not set(self.choices) - {"", EVERY_ROW}

    def process_data(self, value) -> None:
        self.data = "" if value is None else str(value)

    def chosen(self, session: Session, kind: type):
        """The chosen row, None for the empty choice and for all rows."""
        if not self.data or (self.every and self.data == EVERY_ROW):
            return None
        key = parse_key(self.data)
        row = None if key is None else session.get(kind, key)
        if row is None:
            raise BadInput("This is not there any more. Choose another.", self.short_name)
        return row


class TicksField(SelectMultipleField):
    """Any number of rows by their integer id, each with a box to tick. Choices are set per request."""

    def __init__(self, label: str, nothing: str = "There is nothing to choose from yet.", **kwargs):
        super().__init__(label, coerce=str, choices=[], validate_choice=False, **kwargs)
        self.nothing = nothing

    def offer(self, pairs: list[tuple[int, str]]) -> None:
        """Offers these rows."""
        self.choices = [(str(key), words) for key, words in pairs]

    def process_data(self, value) -> None:
        self.data = [str(key) for key in value or ()]

    def chosen(self) -> list[int]:
        """The ids of the ticked rows. Raises BadInput on one that is not offered."""
        offered = {key for key, _ in self.choices}
        if not set(self.data or ()) <= offered:
            raise BadInput(NOT_OFFERED, self.short_name)
        return [int(key) for key in self.data or ()]


class WholeField(IntegerField):
    """A whole number of at most 12 digits: longer ones can be neither compared with limits nor stored."""

    def process_formdata(self, valuelist) -> None:
        super().process_formdata(valuelist)
        if self.data is not None and abs(self.data) >= 10**12:
            self.data = None
            raise ValueError(self.gettext("Not a valid integer value."))


class NeededThen:
    """Marks a field that is only there when it is needed, or that the service asks for."""

    field_flags = {"needed_then": True}

    def __call__(self, _form, _field) -> None:
        """Refuses nothing: whether it is needed is known where the change is made."""


class ReasonForm:
    """The part of a form that asks why a study under way is changed; `leave_out_reason` where none is."""

    reason = StringField(
        "Reason for the change",
        validators=[NeededThen(), Clean(lambda text: clean_line(text, "reason", MOST_REASON))],
        render_kw={"maxlength": str(MOST_REASON), "autocomplete": "off"},
        description="Listed among the protocol changes, and shown in every chart. For example: Pilot showed "
        "that twins posted too often",
    )


def leave_out_reason(form: Any) -> None:
    """Takes the field away, for what is not yet, or no longer, part of a study under way."""
    del form.reason
