"""Accounts and the one-time links that let them set a password."""

import hashlib
from datetime import datetime, timedelta
from secrets import token_hex, token_urlsafe

from argon2 import PasswordHasher
from flask import current_app
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ..config import Settings
from ..database import transaction
from ..errors import BadInput, NotFound
from ..models import ADMINISTRATOR, Account, Role, SignInLink
from . import audit
from .editing import begin
from .fields import clean_email, clean_zone

# Highest first.
ROLES = {
    "administrator": "May do everything in all experiments, accounts and all-experiment schedules included.",
    "researcher": "May manage the experiments it is granted, and personas and tokens.",
    "viewer": "May look at the experiments it is granted, at everything but secrets, and change nothing.",
}
# The roles that change anything but their own session.
WRITERS = frozenset({"administrator", "researcher"})
LINK_LIFETIME = timedelta(days=2)
PASSWORD_MINIMUM = 10
PASSWORD_MAXIMUM = 500  # characters; no longer one is set
LONGEST_TRIED = 4096  # characters; no longer one is hashed to see whether it is the password
# The cost of a password hash: passes, KiB, threads. Source: RFC 9106, second recommended option.
ARGON2 = {"time_cost": 3, "memory_cost": 65536, "parallelism": 4}


def add_account(
    session: Session,
    email: str,
    role: str,
    now: datetime,
    password: str | None = None,
    by: Account | None = None,
    sees_all: bool = False,
) -> Account:
    """A new account. The caller commits. Raises BadInput on a taken address or a short password.

    `sees_all`: all experiments, those to come too; else it sees what `services.granting` grants it.
    """
    email = clean_email(email)
    if find_account(session, email) is not None:
        raise BadInput(f"There is an account {email} already.", "email")
    account = Account(email=email, fs_uniquifier=token_hex(16), created_at=now, active=True, confirmed_at=now)
    account.roles = [session.scalars(select(Role).where(Role.name == role)).one()]
    account.sees_all_experiments = sees_all
    if password:
        set_password(account, password)
    session.add(account)
    audit.record(session, "create", account, now, by, after={"email": email} | shown(account))
    return account


def find_account(session: Session, email: str) -> Account | None:
    """The account with this address."""
    return session.scalars(select(Account).where(Account.email == email.strip().lower())).one_or_none()


def may_administer(account: Account | None) -> bool:
    """Whether somebody may do what concerns all experiments; a command has no account, and may."""
    return account is None or account.is_administrator


def set_password(account: Account, password: str) -> None:
    """Sets the password (argon2) and ends all sessions. Raises BadInput when it is too short."""
    if len(password) < PASSWORD_MINIMUM:
        raise BadInput(f"Use at least {PASSWORD_MINIMUM} characters.", "password")
    if len(password) > PASSWORD_MAXIMUM:
        raise BadInput(f"Use at most {PASSWORD_MAXIMUM} characters.", "password")
    account.password = PasswordHasher(**ARGON2).hash(password)
    account.fs_uniquifier = token_hex(16)


def change_password(session: Session, account: Account, password: str, now: datetime) -> None:
    """Another password for somebody's own account, written down; ends its sessions. The caller commits.

    The caller has verified the present one. Raises BadInput at `password`.
    """
    set_password(account, password)
    audit.record(session, "set password", account, now, account)


def choose_zone(session: Session, account: Account, zone: str | None, now: datetime) -> None:
    """The zone an account reads times in; None or "" takes the experiment's. The caller commits.

    Raises BadInput at `zone`.
    """
    before, wanted = account.zone, clean_zone(zone) if (zone or "").strip() else None
    if before == wanted:
        return
    account.zone = wanted
    audit.record(session, "change", account, now, account, {"zone": before}, {"zone": wanted})


def change_account(
    session: Session,
    account: Account,
    seen: int | None,
    now: datetime,
    *,
    role: str,
    is_active: bool,
    sees_all: bool,
    by: Account | None = None,
) -> None:
    """Another role, the door shut or opened, all experiments or granted ones. The caller commits.

    Role and door end the account's sessions. Nobody shuts out the last administrator who can sign in, nor
    themselves. Raises BadInput.
    """
    hold_accounts(session, by)
    session.refresh(account)
    begin(session, account, seen)
    before = shown(account)
    wanted = {"role": role, "active": is_active, "sees_all_experiments": sees_all}
    if before == wanted:
        return
    if by is not None and by.id == account.id:
        raise BadInput("This is your own account: another administrator has to change it.")
    stays = role == ADMINISTRATOR and is_active
    if account.is_administrator and account.active and not stays and not _has_other(session, account):
        raise BadInput("This is the last administrator who can sign in. Add another one first.")
    if (role, is_active) != (before["role"], before["active"]):
        account.fs_uniquifier = token_hex(16)
    account.roles = [session.scalars(select(Role).where(Role.name == role)).one()]
    account.active, account.sees_all_experiments = is_active, sees_all
    audit.record(session, "change", account, now, by, before, wanted)


def invite(session: Session, account: Account, now: datetime, by: Account | None = None) -> str:
    """The token of a one-time link for this account, written down as an invitation. The caller commits.

    Raises BadInput for an account that is shut.
    """
    if not account.active:
        raise BadInput(f"{account} is not active. Activate it before you invite its owner.")
    token = make_link(session, account, now)
    audit.record(session, "invite", account, now, by)
    return token


def shown(account: Account) -> dict[str, object]:
    """What the audit trail keeps of an account."""
    return {
        "role": role_of(account),
        "active": account.active,
        "sees_all_experiments": account.sees_all_experiments,
    }


def role_of(account: Account) -> str:
    """The account's highest role, "" for none."""
    names = {role.name for role in account.roles}
    return next((name for name in ROLES if name in names), "")


def hold_accounts(session: Session, by: Account | None) -> None:
    """One change of accounts and grants at a time, so that no two administrators undo each other's.

    Raises BadInput for one who has just been shut out.
    """
    session.execute(select(Role.id).where(Role.name == ADMINISTRATOR).with_for_update())
    if by is not None:
        session.refresh(by)
        if not (by.is_administrator and by.active):
            raise BadInput("You may no longer change accounts: another administrator has changed yours.")


def _has_other(session: Session, account: Account) -> bool:
    """Whether another administrator can sign in."""
    query = select(Account.id).where(
        Account.roles.any(Role.name == ADMINISTRATOR),
        Account.active,
        Account.password.is_not(None),
        Account.id != account.id,
    )
    return session.scalars(query.limit(1)).first() is not None


def end_sessions(session: Session, account_id: int) -> None:
    """Makes every session of an account invalid. The caller commits."""
    session.get_one(Account, account_id).fs_uniquifier = token_hex(16)


def make_link(session: Session, account: Account, now: datetime) -> str:
    """The token of a new one-time link, good for two days; earlier unused ones end. The caller commits."""
    session.flush()
    session.execute(
        update(SignInLink)
        .where(SignInLink.account_id == account.id, SignInLink.used_at.is_(None))
        .values(expires_at=now)
    )
    token = token_urlsafe(32)
    session.add(
        SignInLink(
            account_id=account.id,
            token_sha256=_hash(token),
            created_at=now,
            expires_at=now + LINK_LIFETIME,
        )
    )
    return token


def find_link(session: Session, token: str, now: datetime) -> SignInLink:
    """The unused, unexpired link. Raises NotFound with what to do."""
    link = session.scalars(select(SignInLink).where(SignInLink.token_sha256 == _hash(token))).one_or_none()
    if link is None or link.used_at is not None or link.expires_at <= now or not link.account.active:
        raise NotFound(
            "This link has been used or has expired. Ask an administrator for a new one, "
            "or run: flask create-admin YOUR@EMAIL"
        )
    return link


def use_link(session: Session, token: str, password: str, now: datetime) -> Account:
    """Uses up the link and sets the password. The caller commits. Raises NotFound, BadInput."""
    link = find_link(session, token, now)
    set_password(link.account, password)
    used = session.execute(
        update(SignInLink)
        .where(SignInLink.id == link.id, SignInLink.used_at.is_(None))
        .values(used_at=now)
        .execution_options(synchronize_session=False)
    ).rowcount
    if not used:
        raise NotFound("This link has just been used.")
    audit.record(session, "set password", link.account, now, link.account)
    return link.account


def first_sign_in_link(address: str, now: datetime) -> str | None:
    """The one-time link by which the first administrator sets a password; None if one can sign in.

    Makes the account PDS_ADMIN_EMAIL (admin@localhost) if there is no administrator; with
    PDS_ADMIN_PASSWORD set it gets that password and needs no link. In transactions of its own.
    """
    settings: Settings = current_app.extensions["settings"]
    password = settings.admin_password.get_secret_value() if settings.admin_password else None
    with transaction() as session:
        account = session.scalars(
            select(Account)
            .join(Account.roles)
            .where(Role.name == ADMINISTRATOR)
            .order_by(Account.id)
            .limit(1)
        ).first()
        if account is None:
            account = add_account(
                session, settings.admin_email or "admin@localhost", "administrator", now, password
            )
        if account.password is not None:
            return None
        return f"{address.rstrip('/')}/first-sign-in/{make_link(session, account, now)}"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
