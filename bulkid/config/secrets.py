"""Secrets in files of their own, and the references of job files to variables and files that hold secrets."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from bulkid.config import parse
from bulkid.config.parse import InvalidValueError, Secret
from bulkid.config.setting import Setting
from bulkid.config.settings import setting
from bulkid.errors import UsageError

_MAX_SECRET_BYTES = 64 * 1024  # no secret is longer, and /dev/zero must end
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # what Windows PowerShell's ">" writes


def addresses_from(
    references: Iterable[str], *, name: str, environ: Mapping[str, str], base: Path, source: str
) -> Secret | None:
    """Gather the addresses that references lead to, as a value of one of the ``notify_`` settings.

    References are ``env:NAME`` or ``file:PATH``; each leads to one or more addresses. Relative paths start at
    ``base``. None when there are no references.

    Raises:
        UsageError: A reference is none, or leads to nothing. Nothing of it is shown: it may be an address by mistake.
    """
    entry = setting(name)
    found: list[str] = []
    for reference in references:
        scheme, _, place = reference.strip().partition(":")
        if scheme == "env" and place and not place.startswith("//"):
            try:
                found.append(entry.parse(environ.get(place, "")).reveal())
            except InvalidValueError as bad:
                raise UsageError(
                    f"{source}: the variable that it names {bad.problem if environ.get(place) else 'is not set'}.",
                    hint=f"It must hold {entry.allowed}.",
                ) from None
        elif scheme == "file" and place and not place.startswith("//"):
            found.append(read_secret(base / parse.path(place), entry, source).reveal())
        else:
            raise UsageError(
                f"{source}: an address holds a password or a token, and bulkid takes none from there.",
                hint="Put it into an environment variable and give env:NAME, or into a file and give file:PATH.",
            )
    return Secret("\n".join(found)) if found else None


def read_secret(path: Path, entry: Setting, source: str) -> Secret:
    """What a secret's file holds. Its path is shown only when something is there.

    Raises:
        UsageError: It cannot be read, or holds no such secret.
    """
    shown = str(path) if path_exists(path) else "the file it names"
    try:
        secret: Secret = entry.parse(_file_text(path))
        return secret  # noqa: TRY300 - the errors below are those of this one line
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except ValueError:
        problem = "is not text"
    except InvalidValueError as bad:
        problem = bad.problem
    raise UsageError(f"{source}: {shown} {problem}.", hint=f"It must hold {entry.allowed}.")


def _file_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_SECRET_BYTES + 1)
    if len(content) > _MAX_SECRET_BYTES:
        raise InvalidValueError("is too large to be the file of a secret")
    return content.decode("utf-16" if content.startswith(_UTF16_MARKS) else "utf-8-sig").rstrip("\r\n")


def path_exists(path: Path) -> bool:
    """Whether a path exists; one that cannot be looked up does not."""
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be searched
        return False
