"""What can be done with one row of a list."""

from collections.abc import Callable
from typing import Any

from flask_admin.model.template import TemplateLinkRowAction

from ..services.editing import is_open
from ..web import access


def _may_act(row: Any, even_if_over: bool) -> bool:
    """Whether this request's account may change the row, and its experiment still changes."""
    return access.may_change(row) and (even_if_over or is_open(row))


class PostAction(TemplateLinkRowAction):
    """A button of a row that sends a POST with its CSRF token.

    `fields(row)` gives hidden values, `confirm(row)` a question asked first, `shown_if(row)` whether the
    button is there at all. Who may not change the row never sees one. `is_rare` puts it behind More;
    `even_if_over` has it also where the row's experiment is over.
    """

    def __init__(
        self, title: str, endpoint: str, fields=None, confirm=None, shown_if=None, is_rare=False,
        even_if_over=False,
    ):  # fmt: skip
        super().__init__("row_actions.post_row", title)
        self.even_if_over = even_if_over
        self.endpoint = endpoint
        self.is_rare = is_rare
        self.confirm = confirm
        self._fields = fields
        self._shown_if = shown_if

    def fields(self, _row_id: Any, row: Any) -> dict[str, str]:
        """The hidden values besides id and address."""
        return self._fields(row) if self._fields else {}

    def is_shown(self, row: Any) -> bool:
        """Whether this row has the button."""
        return _may_act(row, self.even_if_over) and (self._shown_if is None or self._shown_if(row))


class EditAction(TemplateLinkRowAction):
    """The link to a row's form, where it has one."""

    def __init__(self, is_shown: Callable[[Any], bool]):
        super().__init__("row_actions.edit_row", "Edit")
        self.is_shown = is_shown


class LinkAction(TemplateLinkRowAction):
    """A link from a row to a page that asks something before it acts; for who may change the row.

    `id_of(row)` is the id the page is told, the row's own if not given.
    """

    is_link = True

    def __init__(
        self, title: str, endpoint: str, shown_if=None, is_rare=False, even_if_over=False, id_of=None
    ):  # fmt: skip
        super().__init__("row_actions.link_row", title)
        self.even_if_over = even_if_over
        self.endpoint = endpoint
        self.is_rare = is_rare
        self._shown_if = shown_if
        self._id_of = id_of

    def id_of(self, row: Any) -> int:
        """The id that goes into the address."""
        return self._id_of(row) if self._id_of else row.id

    def is_shown(self, row: Any) -> bool:
        """Whether this row has the link."""
        return _may_act(row, self.even_if_over) and (self._shown_if is None or self._shown_if(row))
