"""Public identifiers: UUID version 7 and the five characters of an experiment."""

import uuid
from datetime import datetime

IDENTIFIER_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


def uuid7(now: datetime, random_bytes: bytes) -> uuid.UUID:
    """A UUID v7: 48 bits of milliseconds since 1970, then 74 of the given random bits.

    `random_bytes` holds at least 10 bytes. Ids made later sort later (to the millisecond).
    """
    milliseconds = int(now.timestamp() * 1000)
    rest = int.from_bytes(random_bytes[:10], "big")
    rand_a = (rest >> 62) & 0xFFF
    rand_b = rest & ((1 << 62) - 1)
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    return uuid.UUID(int=value)


def experiment_identifier(random_bytes: bytes) -> str:
    """Five characters without look-alikes (no 0/o, 1/l/i), from at least 5 random bytes."""
    return "".join(IDENTIFIER_ALPHABET[b % len(IDENTIFIER_ALPHABET)] for b in random_bytes[:5])
