"""Numbers and digests that a secret key ties to an id: the same on every replica, for ever."""

import hashlib
import os

from tidegate.errors import BadInput

_SHORTEST_KEY_BYTES = 16
_LONGEST_KEY_BYTES = 64


def read_key(variable: str, *, where: str, purpose: str) -> bytes:
    """Return the secret key that an environment variable holds.

    Parameters
    ----------
    variable : str
        Name of the variable.
    where : str
        The part of the configuration that asks for it.
    purpose : str
        What cannot be done without it, for the message.

    Raises
    ------
    BadInput
        If the variable is absent, or its value has fewer than 16 bytes.
    """
    key = os.environ.get(variable, "").encode("utf-8", "surrogateescape")
    return checked_key(key, where=where, purpose=f"{purpose}, in ${variable}")


def checked_key(key: bytes | None, *, where: str, purpose: str) -> bytes:
    """Return `key` if it is long enough to be a secret.

    Raises
    ------
    BadInput
        If it is absent or has fewer than 16 bytes.
    """
    if not key:
        raise BadInput(
            where, f"needs a secret key {purpose}", "set it to at least 16 random characters"
        )
    if len(key) < _SHORTEST_KEY_BYTES:
        raise BadInput(
            where,
            f"needs a secret key of at least {_SHORTEST_KEY_BYTES} bytes {purpose}, got {len(key)}",
            "set a longer one, for example from `openssl rand -hex 32`",
        )
    return key


def uniform(key: bytes, purpose: str, identity: str) -> float:
    """Return a number in [0, 1) that only the key's holder can foretell.

    Keyed BLAKE2b (RFC 7693); its first 53 bits make the number, so that every value is exact.

    Parameters
    ----------
    key : bytes
        The secret.
    purpose : str
        Draws for different purposes are independent.
    identity : str
        Id of the row or unit that the number belongs to.
    """
    drawn = _keyed(key, purpose, identity, 8)
    return (int.from_bytes(drawn, "big") >> 11) * 2.0**-53


def keyed_digest(key: bytes, purpose: str, value: str) -> str:
    """Return 32 hexadecimal digits that are equal for equal values and tell nobody else more."""
    return _keyed(key, purpose, value, 16).hex()


def _keyed(key: bytes, purpose: str, text: str, size: int) -> bytes:
    if len(key) > _LONGEST_KEY_BYTES:
        key = hashlib.sha512(key).digest()
    # The purpose's length stands before it, so that no two pairs make the same message.
    name = purpose.encode("utf-8", "surrogatepass")
    message = len(name).to_bytes(4, "big") + name + text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(message, key=key, digest_size=size).digest()
