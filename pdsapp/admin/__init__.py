"""The management screens: Flask-Admin in the product's own frame, one file per screen."""

from flask import Flask
from flask_admin import Admin
from flask_admin.theme import Bootstrap4Theme

from ..extensions import db
from ..models import (
    Account,
    ApiToken,
    Attempt,
    AuditEvent,
    DigitalTwin,
    Experiment,
    Persona,
    Post,
    Schedule,
    UserProfile,
)
from .accounts import AccountScreen
from .attempts import AttemptScreen
from .audit import AuditScreen
from .experiments import ExperimentScreen
from .index import Index
from .personas import PersonaScreen
from .posts import PostScreen
from .profiles import ProfileScreen
from .schedules import ScheduleScreen
from .tokens import TokenScreen
from .twins import TwinScreen


def init_app(app: Flask) -> None:
    """Adds the dashboard's address and all screens to the application."""
    theme = Bootstrap4Theme(base_template="admin/base.html")
    admin = Admin(app, name="Discourse Twins", index_view=Index(), theme=theme)
    admin.add_views(
        ExperimentScreen(Experiment, db, name="Experiments", endpoint="experiment"),
        PersonaScreen(Persona, db, name="Personas", endpoint="persona"),
        TokenScreen(ApiToken, db, name="API tokens", endpoint="apitoken"),
        ProfileScreen(UserProfile, db, name="Profiles", endpoint="userprofile"),
        TwinScreen(DigitalTwin, db, name="Twins", endpoint="digitaltwin"),
        ScheduleScreen(Schedule, db, name="Schedules", endpoint="schedule"),
        PostScreen(Post, db, name="Posts", endpoint="post"),
        AttemptScreen(Attempt, db, name="Attempts", endpoint="attempt"),
        AccountScreen(Account, db, name="Accounts", endpoint="account"),
        AuditScreen(AuditEvent, db, name="Audit log", endpoint="audit"),
    )
