"""Where a job file says that the addresses of those who are told stand: in a variable or a file, never in itself."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from bulkid.config import parse
from bulkid.config.parse import InvalidValueError, Secret
from bulkid.config.resolve import read_secret
from bulkid.config.settings import setting
from bulkid.errors import UsageError


def addresses_from(
    references: Iterable[str], *, name: str, environ: Mapping[str, str], base: Path, source: str
) -> Secret | None:
    """Gather the addresses that references lead to, as a value of one of the ``notify_`` settings.

    Args:
        references: ``env:NAME`` or ``file:PATH``, each of which holds one or more addresses.
        name: The setting, such as ``notify_failure``.
        environ: The environment.
        base: Where relative paths start: the folder of the job file.
        source: What names the place in messages, such as ``job file nightly.toml, key notify.failure``.

    Returns:
        All of them; None when there are no references.

    Raises:
        UsageError: A reference is none, or leads to nothing. Nothing of it is shown: it may be an address by mistake.
    """
    line = setting(name)
    found: list[str] = []
    for reference in references:
        scheme, _, place = reference.strip().partition(":")
        if scheme == "env" and place and not place.startswith("//"):
            try:
                found.append(line.parse(environ.get(place, "")).reveal())
            except InvalidValueError as bad:
                raise UsageError(
                    f"{source}: the variable that it names {bad.problem if environ.get(place) else 'is not set'}.",
                    hint=f"It must hold {line.allowed}.",
                ) from None
        elif scheme == "file" and place and not place.startswith("//"):
            found.append(read_secret(base / parse.path(place), line, source).reveal())
        else:
            raise UsageError(
                f"{source}: an address holds a password or a token, and bulkid takes none from there.",
                hint="Put it into an environment variable and give env:NAME, or into a file and give file:PATH.",
            )
    return Secret("\n".join(found)) if found else None
