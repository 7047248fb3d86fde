"""`flask create-admin`"""

import click

from ..database import transaction
from ..services import accounts as service
from . import common


@click.command("create-admin")
@click.argument("email")
@common.with_database
def create_admin(email):
    """Make an administrator, or a new one-time link for one; the link is good for two days."""
    settings = common.settings()
    with transaction() as session:
        account = service.find_account(session, email)
        if account is None:
            account = service.add_account(session, email, "administrator", common.now())
        token = service.make_link(session, account, common.now())
    click.echo(f"{settings.address}/first-sign-in/{token}")
    common.note(f"Open this once to set the password of {account.email}. It is good for two days.")
