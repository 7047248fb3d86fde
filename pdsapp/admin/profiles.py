"""The screen of user profiles: people in an experiment, twins' profiles beside them."""

from datetime import datetime
from typing import Any

from flask import flash, redirect, request
from flask_admin import expose
from markupsafe import Markup
from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from ..models import Account, Experiment, Post, UserProfile
from ..services import audit, edits, removals, twins
from ..services.editing import hold_experiment
from ..services.rehearsals import in_study
from . import cells, choices, filters
from .row_actions import LinkAction, PostAction
from .twin_forms import MemberForm
from .withdrawing import Withdrawing, withdraw_actions


class ProfileScreen(Withdrawing):
    """People in the experiments. Twins' profiles are listed too and edited with their twin."""

    noun = "profile"
    plural = "profiles"
    lead = "People who post in an experiment, and the profiles of its twins."
    create_lead = "For a person. A twin's profile is made with the twin."
    empty_words = "There is nobody here yet. Add people whose posts twins shall read, or a twin."
    add_label = "Add person"
    offers_delete = True
    form = MemberForm
    form_columns = ("experiment", "username", "display_name", "bio")
    column_list = ("username", "kind", "is_banned", "posts", "created_at", "experiment")
    column_details_list = (
        "username", "display_name", "bio", "kind", "experiment", "posts", "is_banned", "created_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "uuid", "username", "display_name", "bio", "kind", "experiment", "posts", "is_banned", "created_at",
    )  # fmt: skip
    column_sortable_list = ("username", ("kind", "is_bot"), "is_banned", "created_at")
    column_searchable_list = ("username", "display_name", "bio")
    search_words = "username, name, bio"
    column_labels = {
        "display_name": "Display name", "is_banned": "State", "created_at": "Added", "uuid": "UUID",
    }  # fmt: skip
    list_filters = (
        filters.of_flag("kind", "Kind", UserProfile.is_bot, "twins", "people"),
        filters.of_flag("banned", "Banned", UserProfile.is_banned),
    )
    is_of_experiments = True

    column_formatters = {
        "username": lambda view, _c, row, _n: cells.two_lines(
            cells.link(view.get_url(".details_view", id=row.id), f"@{row.username}"), row.display_name
        ),
        "kind": lambda _v, _c, row, _n: "twin" if row.is_bot else "person",
        "experiment": lambda _v, _c, row, _n: row.experiment.name,
        "is_banned": lambda _v, _c, row, _n: (
            cells.pill("erased", "withdrawn")
            if row.withdrawal
            else cells.pill("banned")
            if row.is_banned
            else cells.pill("active", "member")
        ),
        "created_at": lambda view, _c, row, _n: cells.time(row.created_at, view.zone_of(row), "day"),
        "posts": lambda view, _c, row, _n: (
            cells.link(view.get_url("post.index_view", author=row.username), f"{row.posts:,}")
            if row.posts
            else "0"
        ),
    }
    column_formatters_detail = column_formatters | {
        "created_at": lambda view, _c, row, _n: cells.time(row.created_at, view.zone_of(row), "year"),
        "username": lambda _v, _c, row, _n: f"@{row.username}",
        "bio": lambda _v, _c, row, _n: cells.preformatted(row.bio) if row.bio else "",
        "kind": lambda view, _c, row, _n: (
            cells.link(view.get_url("digitaltwin.details_view", id=row.twin.id), "twin")
            if row.twin
            else "person"
        ),
        "uuid": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.uuid),
    }
    column_formatters_export = {
        "kind": lambda _v, _c, row, _n: "twin" if row.is_bot else "person",
        "experiment": lambda _v, _c, row, _n: row.experiment.identifier,
    }
    column_extra_row_actions = [
        PostAction(
            "Ban",
            ".ban",
            confirm=lambda row: (
                f"Ban {row}? "
                + (
                    "It is asked no more until you lift the ban."
                    if row.is_bot
                    else "Posts that are there stay."
                )
            ),
            shown_if=lambda row: not row.is_banned,
        ),
        PostAction("Lift the ban", ".unban", shown_if=lambda row: row.is_banned and not row.withdrawal),
        LinkAction(
            "Post now …", "digitaltwin.ask", shown_if=lambda row: row.is_bot, id_of=lambda row: row.twin.id
        ),
        *withdraw_actions(),
    ]

    def loads(self) -> tuple:
        """What a row shows of other tables."""
        return (
            joinedload(UserProfile.experiment),
            joinedload(UserProfile.withdrawal),
            joinedload(UserProfile.twin),
        )

    def enrich(self, session: Session, rows: list[UserProfile]) -> None:
        """Numbers of posts, in one query."""
        keys = [row.id for row in rows]
        query = (
            select(Post.user_profile_id, func.count(Post.id))
            .where(Post.user_profile_id.in_(keys), in_study(Post))
            .group_by(Post.user_profile_id)
        )
        counts = dict(session.execute(query).all())
        for row in rows:
            row.posts = counts.get(row.id, 0)

    def record_title(self, row: UserProfile) -> str:
        """The username."""
        return f"@{row.username}"

    def record_lead(self, row: UserProfile) -> str:
        """Display name and experiment."""
        return f"{row.display_name} · {row.experiment}"

    def values(self, row: UserProfile) -> dict[str, Any]:
        """Names and bio."""
        return {"username": row.username, "display_name": row.display_name, "bio": row.bio}

    def may_edit(self, row: UserProfile) -> bool:
        """Nothing of somebody who withdrew changes."""
        return not row.withdrawal

    def prepare_form(self, form: Any, row: UserProfile | None) -> None:
        """A profile never moves to another experiment."""
        if row is None:
            choices.offer_experiments(form.experiment)
        else:
            del form.experiment

    @expose("/edit/", methods=("GET", "POST"))
    def edit_view(self):
        """A twin's profile is edited with its twin."""
        row = self.get_one(request.args.get("id"))
        if row.twin is not None:
            return redirect(self.get_url("digitaltwin.edit_view", id=row.twin.id))
        return super().edit_view()

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> UserProfile:
        """A person."""
        experiment = form.experiment.chosen(session, Experiment)
        profile = twins.add_profile(
            session, experiment, form.username.data, now, form.display_name.data, form.bio.data
        )
        audit.record(session, "create", profile, now, account, after={"username": profile.username})
        return profile

    def change(self, session: Session, row: UserProfile, form: Any, now: datetime, account: Account) -> None:
        """Other names or bio."""
        edits.change_profile(
            session, row, form.seen, now,
            username=form.username.data, display_name=form.display_name.data, bio=form.bio.data,
            account=account,
        )  # fmt: skip

    def remove(self, session: Session, row: UserProfile, now: datetime, account: Account) -> None:
        """Deletes a person who never posted."""
        removals.remove_profile(session, row, now, account)

    def delete_words(self, _row: UserProfile) -> str:
        """What deleting does."""
        return "Only a person who never posted can be deleted. Others can be banned."

    @expose("/ban/", methods=("POST",))
    def ban(self):
        """Bans a profile."""
        return self._set_banned(True, "is banned.")

    @expose("/unban/", methods=("POST",))
    def unban(self):
        """Lifts a ban."""
        return self._set_banned(False, "is no longer banned.")

    def _set_banned(self, is_banned: bool, words: str):
        row = self.get_one(request.form.get("id"))
        title = self.record_title(row)

        def change(session: Session, now: datetime, account: Account) -> None:
            hold_experiment(session, row.experiment_id)
            if row.is_banned != is_banned:
                row.edit_version += 1
            twins.set_banned(session, row, is_banned, now, account)

        if self.act(change):
            flash(f"{title} {words}", "success")
        return self.back()
