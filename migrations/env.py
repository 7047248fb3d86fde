"""How Alembic reaches the application's database and metadata."""

from alembic import context
from flask import current_app

from pdsapp.models import Json

migration = current_app.extensions["migrate"]


def render_item(kind, item, autogen_context):
    """Own column types by their own names; everything else as Alembic would."""
    if kind == "type" and type(item).__module__.startswith("pdsapp."):
        return f"{type(item).__name__}()"
    if kind == "type" and item is Json:
        return "Json"
    return False


def run_migrations_offline():
    """Writes the SQL instead of running it."""
    engine = migration.db.engine
    context.configure(
        url=engine.url.render_as_string(hide_password=False),
        target_metadata=migration.db.metadata,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online():
    """Runs the migrations in one transaction: of its own, or that of the connection it was given."""
    given = context.config.attributes.get("connection")
    if given is not None:
        run_over(given)
        return
    with migration.db.engine.connect() as connection:
        run_over(connection)
        connection.commit()


def run_over(connection):
    """Runs the migrations over one connection."""
    context.configure(
        connection=connection,
        target_metadata=migration.db.metadata,
        render_as_batch=True,
        render_item=render_item,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
