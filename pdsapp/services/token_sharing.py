"""API tokens are everybody's, experiments are not: who may change a token that writes for several."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .. import grants
from ..errors import BadInput
from ..models import ApiToken, DigitalTwin


def refuse_if_shared(session: Session, token: ApiToken) -> None:
    """Raises BadInput where a change of the token would reach twins that who makes it does not see."""
    if not grants.is_limited():
        return
    users = select(func.count(DigitalTwin.id)).where(DigitalTwin.api_token_id == token.id)
    seen = session.scalar(users)
    with grants.everything():
        if session.scalar(users) == seen:
            return
    raise BadInput(
        f"Token “{token.name}” also writes for twins of experiments you do not see. Ask an administrator to "
        "change it, or add a token of your own."
    )
