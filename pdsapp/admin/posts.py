"""The screen of posts: all that was said, people's posts written by hand."""

from datetime import datetime
from typing import Any

from flask import flash, request, url_for
from flask_admin import expose
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Query, Session, joinedload
from wtforms import TextAreaField

from ..domain.reasons import Visibility
from ..extensions import db
from ..models import Account, Attempt, Post, PostRevision, UserProfile
from ..services import edits
from ..services import posts as service
from ..services.fields import POST_LIMIT, clean_text
from ..services.visibility import set_visibility
from ..web import frame
from . import cells, choices, filters
from .base import Screen
from .forms import Clean, Form, Needed, RowField
from .row_actions import PostAction


class PostForm(Form):
    """A post written by hand."""

    user_profile = RowField(
        "Who says it",
        added_by="userprofile.create_view",
        validators=[Needed()],
        description="A person of the experiment; twins post through attempts only. For example: @ada_reads, "
        "Ada",
    )
    text = TextAreaField(
        "Text",
        validators=[Needed(), Clean(lambda text: clean_text(text, "text", POST_LIMIT))],
        render_kw={"rows": 4, "maxlength": POST_LIMIT, "data-count": True},
        description=f"At most {POST_LIMIT} characters. For example: Third bus in a row that skipped our "
        f"stop.",
    )


class PostEditForm(PostForm):
    """Another text; the author stays."""

    user_profile = None


class PostScreen(Screen):
    """Posts of people and twins."""

    noun = "post"
    plural = "posts"
    lead = (
        "Everything that was said. What people said can be written and edited here; what a twin wrote "
        "stays as it was."
    )
    create_lead = "For a person, in their name. It is in the feed at once."
    empty_words = "Nobody has posted yet. Write something in a person's name for twins to react to."
    add_label = "Write a post"
    form = PostForm
    form_columns = ("user_profile", "text")
    column_list = ("text", "author", "visibility", "created_at", "experiment")
    column_details_list = (
        "text", "author", "kind", "experiment", "visibility", "is_stand_in", "is_rehearsal", "attempt",
        "revision",
        "created_at",
        "changed_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "uuid", "experiment", "author", "kind", "text", "revision", "visibility", "is_stand_in",
        "is_rehearsal", "created_at",
    )  # fmt: skip
    column_sortable_list = ("created_at",)
    column_default_sort = ("created_at", True)
    column_searchable_list = ("text",)
    column_labels = {
        "created_at": "Posted",
        "changed_at": "Last changed",
        "is_stand_in": "Stand-in",
        "is_rehearsal": "Rehearsal",
        "attempt": "Why it was posted",
        "uuid": "UUID",
    }
    list_filters = (
        filters.of_flag("kind", "By", UserProfile.is_bot, "twins", "people"),
        filters.of_enum("visibility", "Visibility", Post.visibility, Visibility),
        filters.of_flag("stand_in", "Stand-in", Post.is_stand_in),
        filters.of_flag("rehearsal", "Part of", Post.is_rehearsal, "a rehearsal", "the study"),
        filters.ListFilter(
            "author",
            "Username",
            lambda query, value: query.filter(UserProfile.username_key == value.removeprefix("@").casefold()),
        ),
    )
    is_of_experiments = True
    details_template = "admin/post/details.html"
    details_sections = (
        ("Post", ("text", "author", "kind", "experiment", "created_at")),
        ("More", ("visibility", "is_stand_in", "is_rehearsal", "attempt", "revision", "changed_at", "uuid")),
    )

    column_formatters = {
        "text": lambda view, _c, row, _n: Markup('<a class="clip" dir="auto" href="{}">{}</a>').format(
            view.get_url(".details_view", id=row.id), row.text
        ),
        "author": lambda view, _c, row, _n: cells.two_lines(
            cells.link(
                view.get_url("userprofile.details_view", id=row.user_profile_id), str(row.user_profile)
            ),
            "twin" if row.user_profile.is_bot else "person",
        ),
        "experiment": lambda _v, _c, row, _n: row.experiment.name,
        "visibility": lambda _v, _c, row, _n: cells.parts(
            cells.pill(row.visibility),
            cells.stand_in() if row.is_stand_in else "",
            cells.rehearsal() if row.is_rehearsal else "",
        ),
        "created_at": lambda view, _c, row, _n: cells.moment(row.created_at, view.zone_of(row)),
    }
    column_formatters_detail = column_formatters | {
        "created_at": lambda view, _c, row, _n: cells.time(row.created_at, view.zone_of(row), "year"),
        "text": lambda _v, _c, row, _n: cells.preformatted(row.text),
        "kind": lambda _v, _c, row, _n: "twin" if row.user_profile.is_bot else "person",
        "is_stand_in": lambda _v, _c, row, _n: cells.stand_in() if row.is_stand_in else "no",
        "is_rehearsal": lambda _v, _c, row, _n: cells.rehearsal() if row.is_rehearsal else "no",
        "attempt": lambda view, _c, row, _n: _attempt_link(row),
        "changed_at": lambda view, _c, row, _n: cells.time(row.changed_at, view.zone_of(row)),
        "uuid": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.uuid),
    }
    column_formatters_export = {
        "experiment": lambda _v, _c, row, _n: row.experiment.identifier,
        "author": lambda _v, _c, row, _n: row.user_profile.username,
        "kind": lambda _v, _c, row, _n: "twin" if row.user_profile.is_bot else "person",
    }
    column_extra_row_actions = [
        PostAction("Hide", ".hide", shown_if=lambda row: row.visibility == Visibility.visible),
        PostAction("Show", ".show", shown_if=lambda row: row.visibility == Visibility.hidden),
    ]

    def get_edit_form(self) -> type[Form]:
        """The form without the author."""
        return PostEditForm

    def get_query(self) -> Query:
        """With the author, by whom it is narrowed."""
        return super().get_query().join(Post.user_profile)

    def loads(self) -> tuple:
        """What a row shows of other tables."""
        return (joinedload(Post.user_profile), joinedload(Post.experiment))

    def record_title(self, row: Post) -> str:
        """Who said it."""
        return f"Post by {row.user_profile}"

    def record_lead(self, row: Post) -> str:
        """Where it was said."""
        return str(row.experiment)

    def values(self, row: Post) -> dict[str, Any]:
        """The text."""
        return {"text": row.text}

    def edit_form(self, obj: Any = None) -> Any:
        """The revision stands for the version of a post."""
        form = super().edit_form(obj)
        if request.method == "GET":
            form.edit_version.data = str(obj.revision)
        return form

    def prepare_form(self, form: Any, row: Post | None) -> None:
        """Offers the people of the chosen experiment."""
        if row is None:
            form.user_profile.offer(choices.people(db.session(), frame.current_experiment()))

    def may_edit(self, row: Post) -> bool:
        """What a twin wrote stays as it was."""
        return row.attempt_id is None

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> Post:
        """A person's post."""
        return service.add_post(
            session, form.user_profile.chosen(session, UserProfile), form.text.data, now, account
        )

    def change(self, session: Session, row: Post, form: Any, now: datetime, account: Account) -> None:
        """Another text; the old one stays as a revision."""
        edits.change_post(session, row, form.seen, form.text.data, now, account)

    @expose("/hide/", methods=("POST",))
    def hide(self):
        """Takes a post out of the feed."""
        return self._set_visibility(
            Visibility.hidden, "The post is hidden: no feed shows it, no twin reads it."
        )

    @expose("/show/", methods=("POST",))
    def show(self):
        """Puts a hidden post back."""
        return self._set_visibility(Visibility.visible, "The post is in the feed again.")

    def _set_visibility(self, visibility: Visibility, words: str):
        row = self.get_one(request.form.get("id"))
        if self.act(lambda s, now, account: set_visibility(s, row, visibility, now, account)):
            flash(words, "success")
        return self.back()

    def revisions_of(self, row: Post) -> list[PostRevision]:
        """The texts it had, newest first."""
        query = (
            select(PostRevision).where(PostRevision.post_id == row.id).order_by(PostRevision.number.desc())
        )
        return list(db.session.scalars(query))


def _attempt_link(row: Post) -> Markup | str:
    if row.attempt_id is None:
        return "written by a person"
    uuid = db.session.scalar(select(Attempt.uuid).where(Attempt.id == row.attempt_id))
    return cells.link(url_for("attempt_page.show", uuid=uuid), "the attempt that wrote it")
