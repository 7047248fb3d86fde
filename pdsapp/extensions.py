"""The Flask extensions every process needs; those of the screens are `web.extensions`."""

from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from .models.base import Base

db = SQLAlchemy(metadata=Base.metadata)
migrate = Migrate()
