"""A twin's own pages: what counts for it now, and a preview of what it would be asked."""

from secrets import token_hex

from flask import current_app, request
from flask_admin import expose

from ..attempts.preview import preview
from ..config import Settings
from ..domain.policy import PolicyError
from ..domain.prompt import PromptError
from ..dt_service import load_service
from ..errors import BadInput
from ..extensions import db
from ..models import DigitalTwin, utc_now
from ..web.drawbar import draw_bar
from ..web.request_ids import request_fields
from ..web.rhythm import DAYS
from .ask_page import ask_page
from .asked import wants_part
from .twin_bulk_edit import TwinBulkEdit
from .twin_page import TwinPage, schedules_asking, twin_page


class TwinPages(TwinBulkEdit):
    """The pages of one twin beside its facts."""

    days = DAYS

    def page_of(self, row: DigitalTwin) -> TwinPage:
        """What its page shows beside facts and attempts."""
        return twin_page(db.session(), row, self.zone_of(row), utc_now())

    @expose("/ask/")
    def ask(self):
        """The question before a twin is asked. As a page, or its form alone for the page's own dialog."""
        row = self.get_changeable(request.args.get("id"))
        template = "admin/twin/ask_form.html" if wants_part("dialog") else "admin/twin/ask.html"
        return self.render(
            template,
            model=row,
            page=ask_page(db.session(), row, utc_now()),
            fields=request_fields(),
            return_url=self.get_url(".details_view", id=row.id),
        )

    @expose("/preview/")
    def preview(self):
        """What an attempt would decide and ask now. Asks no model, stores and publishes nothing."""
        row, settings = self.get_one(request.args.get("id")), _settings()
        try:
            made = preview(
                db.session(), row, load_service(settings), settings, f"preview-{token_hex(8)}", utc_now()
            )
        except (PolicyError, PromptError) as error:
            raise BadInput(f"The experiment's posting policy or prompt cannot be used: {error}") from None
        decision = made.decision
        bar = draw_bar(
            decision.recency_probability, decision.share_probability, decision.draw,
            probability=decision.skip_probability, held_back_by="something else" if made.obstacle else "",
        )  # fmt: skip
        return self.render(
            "admin/twin/preview.html",
            model=row,
            made=made,
            bar=bar,
            schedules=schedules_asking(db.session(), row),
            return_url=self.get_url(".details_view", id=row.id),
        )


def _settings() -> Settings:
    return current_app.extensions["settings"]
