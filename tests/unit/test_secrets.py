"""Secrets at rest."""

import pytest
from cryptography.fernet import Fernet

from pdsapp.errors import NotConfigured, SecretUnreadable
from pdsapp.llm.secrets import SecretBox

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
URL = "https://api.example/v1"
SECRET = "sk-abcdefghijkl-4321"


def test_a_secret_comes_back_for_its_own_address_only():
    sealed = SecretBox(NEW).seal(SECRET, URL)
    assert SecretBox(NEW).open(sealed.encrypted, URL) == SECRET
    with pytest.raises(SecretUnreadable, match="another base URL"):
        SecretBox(NEW).open(sealed.encrypted, "https://evil.example/v1")


def test_only_the_last_four_and_a_fingerprint_can_be_shown():
    sealed = SecretBox(NEW).seal(SECRET, URL)
    assert (sealed.last_four, len(sealed.fingerprint)) == ("4321", 12)
    assert SECRET not in sealed.encrypted
    assert SecretBox(NEW).seal("short", URL).last_four == ""


def test_equal_secrets_have_equal_fingerprints_and_different_ciphertexts():
    one, other = SecretBox(NEW).seal(SECRET, URL), SecretBox(NEW).seal(SECRET, URL)
    assert one.fingerprint == other.fingerprint
    assert one.encrypted != other.encrypted


def test_a_second_key_still_opens_what_the_old_one_sealed():
    sealed = SecretBox(OLD).seal(SECRET, URL)
    assert SecretBox(f"{NEW},{OLD}").open(sealed.encrypted, URL) == SECRET
    with pytest.raises(SecretUnreadable, match="Enter it again"):
        SecretBox(NEW).open(sealed.encrypted, URL)


@pytest.mark.parametrize(
    "keys", ["", "not-a-key", f"{NEW},nonsense"], ids=["none", "one that is none", "the second is none"]
)
def test_unusable_keys_say_how_to_make_one(keys):
    with pytest.raises(NotConfigured, match="generate_key"):
        SecretBox(keys)
