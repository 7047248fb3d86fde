"""What every screen reads: a page of its list, one row, an export."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from flask import abort, request
from flask_admin.contrib.sqla import ModelView
from sqlalchemy.orm import Query, Session
from sqlalchemy.sql.base import ExecutableOption

from ..errors import BadInput, NotFound, ReadOnly
from ..extensions import db
from ..services.chunks import portions, rows_by_id
from ..services.deletion import require_still_there, still_there
from ..services.editing import is_open, read_only_words
from ..services.lookup import parse_key
from ..web import access, frame
from . import cells, filters

MOST_PAGES = 100_000
MOST_EXPORTED = 100_000


class Reading(ModelView):
    """The reading half of a screen.

    `is_of_experiments`: the model has an `experiment_id`, and lists show the chosen one's rows.
    `outlives_experiment`: its rows stay, and are shown, when their experiment is deleted.
    """

    noun = "entry"
    plural = "entries"
    list_filters: Sequence[filters.ListFilter] = ()
    is_of_experiments = False
    outlives_experiment = False

    def get_query(self) -> Query:
        """The rows of the list: of the chosen experiment, narrowed by the address's filters."""
        query = super().get_query()
        experiment = frame.current_experiment()
        if experiment is not None and self.is_of_experiments:
            query = self.of_experiment(query, experiment.id)
        elif self.is_of_experiments and not self.outlives_experiment:
            query = query.filter(still_there(self.model.experiment_id))
        return filters.narrow(query, self.list_filters, request)

    def of_experiment(self, query: Query, experiment_id: int) -> Query:
        """The query narrowed to one experiment."""
        return query.filter(self.model.experiment_id == experiment_id)

    def loads(self) -> Sequence[ExecutableOption]:
        """What a row shows of other tables, as options of the query that loads a page's rows."""
        return ()

    def get_list(self, page, sort_column, sort_desc, search, list_filters, execute=True, page_size=None):
        """A page of rows; addresses with impossible pages or characters are taken as the nearest possible."""
        page = max(0, min(page or 0, MOST_PAGES))
        search = (search or "").replace("\x00", "")[:200] or None
        _, query = super().get_list(page, sort_column, sort_desc, search, list_filters, False, page_size)
        if not execute:
            return None, query
        rows = self._rows_of(query)
        for part in portions(rows):
            self.enrich(db.session(), part)
        return None, rows

    def _rows_of(self, query: Query) -> list[Any]:
        """The rows of a page: first its ids, which costs little however far one has turned, then those rows
        with all that they show."""
        ids = [key for (key,) in query.with_entities(self.model.id)]
        shown = query.session.query(self.model).options(*self.loads())
        found = {row.id: row for row in rows_by_id(shown, self.model.id, ids)}
        return [found[key] for key in ids if key in found]

    def enrich(self, session: Session, rows: list[Any]) -> None:
        """Sets on all rows at once what they show of other tables; the queries do not grow with the rows."""

    def get_one(self, id: Any) -> Any:
        """The row. Raises NotFound for what is no id of one, and while its experiment is being deleted."""
        key = parse_key(str(id))
        row = None if key is None else db.session.get(self.model, key)
        if row is None:
            raise NotFound(f"There is no such {self.noun}. It may have been removed.")
        if not self.outlives_experiment:
            require_still_there(row)
        return row

    def get_changeable(self, id: Any, even_if_over: bool = False) -> Any:
        """The row, as `get_one`; 403 for whoever may not change it.

        Raises ReadOnly for one of an experiment that is over, unless `even_if_over`.
        """
        row = self.get_one(id)
        if not access.may_change(row):
            abort(403)
        if not (even_if_over or is_open(row)):
            raise ReadOnly(read_only_words(row))
        return row

    def filter_bar(self, _request) -> list[filters.ShownFilter]:
        """The list's filters, for the template."""
        return filters.shown(self.list_filters, request)

    def address_args(self) -> dict[str, str]:
        """What the address narrows the list by, to be handed on; none of the names that url_for knows."""
        return {name: value for name, value in request.args.items() if _is_handed_on(name)}

    def _get_list_extra_args(self):
        found = super()._get_list_extra_args()
        found.extra_args = {name: value for name, value in found.extra_args.items() if _is_handed_on(name)}
        return found

    def search_placeholder(self) -> str | None:
        """What the search looks into."""
        return getattr(self, "search_words", None) or super().search_placeholder()

    def record_title(self, row: Any) -> str:
        """A row's name in headings."""
        return str(row)

    def zone_of(self, row: Any) -> ZoneInfo:
        """The zone a row's times are shown in."""
        experiment = getattr(row, "experiment", None)
        return ZoneInfo(experiment.zone) if experiment is not None else frame.current_zone()

    def get_export_value(self, model: Any, name: str) -> str:
        """A cell of an export, never a formula."""
        return cells.csv_value(super().get_export_value(model, name))

    def _export_data(self):
        count, data = super()._export_data()
        if len(data) > MOST_EXPORTED:
            raise BadInput(
                f"More than {MOST_EXPORTED:,} {self.plural} match. Narrow the list with its filters."
            )
        return count, data


def _is_handed_on(name: str) -> bool:
    """Whether an address may hold this name again: url_for would take the others for its own."""
    return name not in ("endpoint", "export_type") and not name.startswith("_")
