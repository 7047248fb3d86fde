"""What people choose when they set up many twins at once."""

from wtforms import (
    BooleanField,
    FileField,
    IntegerField,
    MultipleFileField,
    RadioField,
    SelectMultipleField,
    StringField,
)
from wtforms.validators import Optional

from ..services.bulk_files import FILE_LIMIT
from ..services.bulk_imports import MOST_ROWS
from .forms import Form, Needed, RowField

TABLE, TEXTS, PATTERN = "table", "texts", "pattern"
SOURCES = {
    TABLE: "A table: one twin a row, from a CSV or JSON lines file",
    TEXTS: "Persona texts: one twin a file, from .txt or .md files",
    PATTERN: "Personas of the library: so many twins of each",
}
LIMITS = f"In UTF-8, {FILE_LIMIT // 1_000_000} MB and {MOST_ROWS:,} rows at most."


class NeededIfChosen:
    """Marks a field that must be filled if its source is the chosen one; the services say so if it is not."""

    field_flags = {"required": True}

    def __call__(self, _form, _field) -> None:
        return None


class BulkForm(Form):
    """Where the twins come from, and what goes for all of them."""

    experiment = RowField(
        "Experiment",
        added_by="experiment.create_view",
        validators=[Needed()],
        description="Where they post. For example: Pilot (a41f9)",
    )
    source = RadioField("Where they come from", choices=SOURCES, default=TABLE)
    table = FileField(
        "File",
        validators=[NeededIfChosen()],
        render_kw={"accept": ".csv,.jsonl,.ndjson"},
        description=f"Commas between the cells. {LIMITS} For example: twins.csv",
    )
    texts = MultipleFileField(
        "Files",
        validators=[NeededIfChosen()],
        render_kw={"accept": ".txt,.md"},
        description="All files of a folder at once. The file's name is the persona's, and the twin's "
        f"username is made up from it. {LIMITS} For example: retired_bus_driver.txt",
    )
    chosen = SelectMultipleField("Personas", coerce=str, choices={})
    count = IntegerField(
        "Twins of each",
        validators=[Optional(), NeededIfChosen()],
        default=10,
        render_kw={"min": "1", "inputmode": "numeric"},
        description="How many twins every chosen persona gets. For example: 20",
    )
    pattern = StringField(
        "Usernames",
        default="{persona}_{n}",
        validators=[NeededIfChosen()],
        render_kw={"spellcheck": "false", "autocapitalize": "none"},
        description="{persona} is the persona's name, {n} counts up and passes over usernames that are "
        "taken. For example: {persona}_{n} gives bus_driver_1, bus_driver_2",
    )
    api_token = RowField(
        "API token", empty="none", description="For rows that name none. For example: Lab vLLM"
    )
    is_active = BooleanField(
        "Active",
        default=True,
        description="New twins are asked by schedules at once. For example, leave it off until the "
        "experiment begins.",
    )
