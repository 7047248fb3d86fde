"""Secrets at rest: MultiFernet encryption bound to a base URL, and the local stack's own secrets."""

import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from ..config import Settings, secret_file
from ..errors import NotConfigured, SecretUnreadable

UNREADABLE = "The stored secret cannot be decrypted with the keys in PDS_FERNET_KEYS. Enter it again."
SECRET_FILES = {"secret_key": "secret_key", "fernet_keys": "fernet_keys"}


@dataclass(frozen=True)
class SealedSecret:
    """What is stored of a secret: ciphertext, its last four characters and a keyed fingerprint."""

    encrypted: str
    last_four: str
    fingerprint: str


class SecretBox:
    """Encrypts with the first key, decrypts with any. Made from PDS_FERNET_KEYS."""

    def __init__(self, fernet_keys: str):
        keys = [key.strip() for key in fernet_keys.split(",") if key.strip()]
        try:
            fernets = [Fernet(key) for key in keys]
            self._fernet = MultiFernet(fernets)
        except ValueError:
            raise NotConfigured(
                "PDS_FERNET_KEYS holds no usable key. Make one with: python -c "
                '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
            ) from None
        self._newest = fernets[0]
        self._fingerprint_key = hashlib.sha256(b"fingerprint" + keys[-1].encode()).digest()

    def seal(self, secret: str, base_url: str) -> SealedSecret:
        """The secret encrypted together with the base URL it may be sent to."""
        payload = json.dumps({"secret": secret, "base_url": base_url}).encode()
        return SealedSecret(
            encrypted=self._fernet.encrypt(payload).decode(),
            last_four=secret[-4:] if len(secret) >= 12 else "",
            fingerprint=hmac.new(self._fingerprint_key, secret.encode(), "sha256").hexdigest()[:12],
        )

    def open(self, encrypted: str, base_url: str) -> str:
        """The secret. Raises SecretUnreadable if no key fits or it was stored for another base URL."""
        try:
            payload = json.loads(self._fernet.decrypt(encrypted.encode()))
        except InvalidToken:
            raise SecretUnreadable(UNREADABLE) from None
        if payload["base_url"] != base_url:
            raise SecretUnreadable(
                "The secret was stored for another base URL. Enter the secret again for this one."
            )
        return payload["secret"]

    def is_newest(self, encrypted: str) -> bool:
        """Whether a secret is encrypted with the first key already."""
        try:
            self._newest.decrypt(encrypted.encode())
        except InvalidToken:
            return False
        return True

    def renew(self, encrypted: str) -> str:
        """The same secret, for the same base URL, encrypted with the first key. Raises SecretUnreadable."""
        try:
            return self._fernet.rotate(encrypted.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable(UNREADABLE) from None


def ensure_local_secrets(settings: Settings) -> Settings:
    """The settings with SECRET_KEY and PDS_FERNET_KEYS filled in from the data dir.

    What is missing is generated once, into files with mode 0600. Raises NotConfigured when the data
    dir cannot be written.
    """
    makers = {"secret_key": lambda: token_urlsafe(48), "fernet_keys": lambda: Fernet.generate_key().decode()}
    found = {
        name: SecretStr(_read_or_make(settings.data_dir / SECRET_FILES[name], make))
        for name, make in makers.items()
        if getattr(settings, name) is None
    }
    return settings.model_copy(update=found) if found else settings


def place_of_keys(settings: Settings) -> str:
    """Where the Fernet keys in force are kept, in words: a key file, or PDS_FERNET_KEYS.

    The key file of the data dir is named only if it holds them: what the environment says wins over it.
    """
    own = settings.data_dir / SECRET_FILES["fernet_keys"]
    try:
        is_own = own.read_text().strip() == settings.require("fernet_keys").strip()
    except (OSError, UnicodeDecodeError):
        is_own = False
    if is_own:
        return f"the key file {own}"
    if given := secret_file("PDS_FERNET_KEYS"):
        return f"the key file {given} that PDS_FERNET_KEYS_FILE names"
    return "the value of PDS_FERNET_KEYS"


def _read_or_make(path: Path, make) -> str:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        if not path.exists():
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(make())
            try:
                os.link(draft, path)  # the first of several processes wins
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        found = path.read_text().strip()
    except OSError as error:
        raise NotConfigured(
            f"The data folder {path.parent} cannot be written ({error.strerror}). "
            "Set PDS_DATA_DIR to a folder you own."
        ) from None
    if not found:
        raise NotConfigured(
            f"{path} is empty. Put the old value back; a new one would make stored API keys unreadable. "
            "If there are none, delete the file."
        )
    return found
