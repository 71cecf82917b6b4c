"""Client assertions: a JWT in a file, with which an application signs in without a secret (federated credentials).

The platform that issues it (GitHub Actions, Kubernetes) replaces the file while a run is under way, so bulkid reads it
again for every token. Its claims are read and not verified: the server does that.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from bulkid.clock import iso_utc
from bulkid.errors import AuthenticationError, UsageError
from bulkid.file_kind import special_kind
from bulkid.identity.jwt import is_jwt, seconds_claim, text_claims, unverified_claims
from bulkid.redaction import register_secret
from bulkid.secret_file import MAX_SECRET_BYTES, SecretTooLargeError, path_exists, read_secret_text

VARIABLE = "BULKID_CLIENT_ASSERTION_FILE"

_JWT_HINT = (
    "The file must hold one JWT and nothing else: three parts with dots between them. Where a service answers with "
    "JSON (as GitHub does), write only the token of the answer into the file."
)
_MAX_CLAIM = 200  # characters of a claim that a message shows


@dataclass(frozen=True, slots=True)
class ClientAssertion:
    """An assertion that can be sent: a JWT whose end has not come."""

    value: str = field(repr=False)
    expires_at: float | None  # seconds since the epoch; None where it names no end
    issuer: str
    subject: str
    audience: str

    def described(self) -> str:
        """The claims that a server compares with the application's federated credentials."""
        claims = {"iss": self.issuer, "sub": self.subject, "aud": self.audience}
        return ", ".join(f"{name} {value[:_MAX_CLAIM] or '(none)'}" for name, value in claims.items())


def read_client_assertion(path: Path, now: float) -> ClientAssertion:
    """Read the assertion from its file.

    From here on no message and no log line shows it. No message shows the path unless a file is there: the path may be
    the assertion itself by mistake.

    Args:
        path: The file.
        now: Seconds since the epoch.

    Raises:
        UsageError: The file is missing, empty, too large or unreadable, or holds no JWT.
        AuthenticationError: The assertion has expired.
    """
    text = _text(path)
    if not is_jwt(text):
        _refuse(path, "is not a JWT", _JWT_HINT)
    register_secret(text)
    claims = unverified_claims(text) or {}
    expires_at = seconds_claim(claims, "exp")
    if expires_at is not None and expires_at <= now:
        ended = f" at {iso_utc(expires_at)}" if expires_at >= 0 else ""
        raise AuthenticationError(
            f"The client assertion in {path} has expired{ended}: nothing was sent with it.",
            hint=f"The program that writes {VARIABLE} must replace the assertion before its end. Get a new one, and "
            "check that the clock of this computer is right.",
        )
    issuer, subject, audience = (", ".join(text_claims(claims, name)) for name in ("iss", "sub", "aud"))
    return ClientAssertion(text, expires_at, issuer, subject, audience)


def _text(path: Path) -> str:
    """The text of the file, without blanks around it."""
    if not path_exists(path):
        _refuse(path, "does not exist or cannot be looked up", "Name the file that the platform writes the JWT into.")
    try:
        if kind := special_kind(path):
            _refuse(path, f"is {kind}", "Name a regular file: bulkid reads it again for every token.")
        text = read_secret_text(path).strip()
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror or error})", "Give the user that runs bulkid the right to it.")
    except SecretTooLargeError:
        _refuse(path, f"is larger than {MAX_SECRET_BYTES // 1024} KiB", _JWT_HINT)
    except ValueError:
        _refuse(path, "is not text", _JWT_HINT)
    if not text:
        _refuse(path, "is empty", "Check that the program that writes the JWT succeeded, and that it writes there.")
    return text


def _refuse(path: Path, problem: str, hint: str) -> NoReturn:
    shown = f"the file {path}" if path_exists(path) else "the file that it names"
    raise UsageError(f"{VARIABLE}: {shown} {problem}.", hint=hint)
