"""Recipients of notifications. The address of a service holds its password or token: all of it is a secret."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from bulkid.redaction import register_secret

_ADDRESS_BREAK: Final = re.compile(r"[\s,]+(?=[a-zA-Z][a-zA-Z0-9+.-]*://)|[\r\n]+")
_ADDRESS_END: Final = re.compile(r"[\s,]+\Z")
_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)
_MIN_TOKEN: Final = 8
"""Parts of an address that are shorter are no tokens; to redact them would make log lines unreadable."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address. Its text forms show only the scheme, which says what kind of service it is."""

    address: str = field(repr=False)
    what: str = "always"  # "success" | "failure" | "always"
    number: int = 1  # among those of the same kind

    @property
    def scheme(self) -> str:
        """The part before ``://``; empty when there is none, or when it may be something else."""
        found = _SCHEME.fullmatch(self.address)
        return found[1].lower() if found else ""

    def __str__(self) -> str:
        return f"{self.what}, address {self.number}" + (f" ({self.scheme}://...)" if self.scheme else "")


@dataclass(frozen=True, slots=True)
class Recipients:
    """Whom to notify, by addresses as apprise writes them (``mailtos://...``)."""

    success: tuple[str, ...] = field(default=(), repr=False)  # of a run that exits with 0
    failure: tuple[str, ...] = field(default=(), repr=False)  # of a run that exits otherwise
    always: tuple[str, ...] = field(default=(), repr=False)  # of every run

    def __post_init__(self) -> None:
        for recipient in self:
            for secret in secrets_in(recipient.address):
                register_secret(secret)

    def __bool__(self) -> bool:
        return bool(self.success or self.failure or self.always)

    def __iter__(self) -> Iterator[Recipient]:
        for what, addresses in (("success", self.success), ("failure", self.failure), ("always", self.always)):
            for number, address in enumerate(addresses, 1):
                yield Recipient(address, what, number)

    def for_outcome(self, *, success: bool) -> tuple[Recipient, ...]:
        """The recipients of a run's outcome; each address once."""
        wanted = ("success" if success else "failure", "always")
        found = {each.address: each for each in reversed(list(self)) if each.what in wanted}
        return tuple(reversed(found.values()))


def addresses_in(text: str) -> tuple[str, ...]:
    """The addresses in a text: one per line, or with blanks or commas between them; each once.

    A line that begins with ``#`` is a comment.
    """
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    parts = (_ADDRESS_END.sub("", part.lstrip()) for part in _ADDRESS_BREAK.split("\n".join(lines)))
    return tuple(dict.fromkeys(part for part in parts if part))


def secrets_in(address: str) -> Iterable[str]:
    """What must not be shown: the address, and each part of it that may be a token or a password.

    A host name (with a dot in it) is not among them; in the place of the host some services have a token.
    """
    found = {address}
    try:
        parts = urlsplit(address)
        user, password, host = parts.username, parts.password, parts.hostname
    except ValueError:  # no address, or one with a port that is none
        return found
    rest = _SCHEME.fullmatch(address)
    found.add(rest[2] if rest else address)
    as_written = parts.netloc.rpartition("@")[2].partition(":")[0]  # urlsplit folds the host's case
    pieces = [*re.split(r"[/?&=#;,]", f"{parts.path}?{parts.query}#{parts.fragment}"), user or ""]
    if host and "." not in host and host != "localhost":
        pieces.append(as_written)
    found.update(piece for piece in pieces if len(piece) >= _MIN_TOKEN)
    if password:
        found.add(password)
    return found | {unquote(piece) for piece in found}
