"""Secrets in files, references of job files to secrets, and which server may get which credentials.

A ``bulkid.toml`` may be in any directory that a user works in, and other people may have written it. So credentials
that one file gives are never sent to an address from another file. Options and the environment are the user's own
and no file: they go with any file, but for a ``bulkid.toml`` of the working directory that overrules the user's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bulkid.config import parse
from bulkid.config.parse import InvalidValueError, Secret
from bulkid.config.settings import SETTINGS, Setting, setting
from bulkid.errors import UsageError
from bulkid.secret_file import SecretTooLargeError, path_exists, read_secret_text


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
        secret: Secret = entry.parse(read_secret_text(path))
        return secret  # noqa: TRY300 - the errors below are those of this one line
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except ValueError:
        problem = "is not text"
    except SecretTooLargeError:
        problem = "is too large to be the file of a secret"
    except InvalidValueError as bad:
        problem = bad.problem
    raise UsageError(f"{source}: {shown} {problem}.", hint=f"It must hold {entry.allowed}.")


CREDENTIALS = tuple(entry.name for entry in SETTINGS if entry.credential)


Place = tuple[str, Mapping[str, Any]]
"""A file as messages call it (empty for options and the environment), and what it gives by the names of settings."""


class UserFile(NamedTuple):
    """The ``bulkid.toml`` in the user's configuration directory."""

    path: Path
    secrets: Sequence[tuple[Path, object]]  # the file of each secret that any of its tables names, and the table's url

    @property
    def folder(self) -> Path:
        """The user's configuration directory."""
        return self.path.parent

    def gives_elsewhere(self, secret: Path, url: object) -> bool:
        """Whether the file names this file of a secret, and for no server at this address."""
        urls = [address for path, address in self.secrets if _is_one_file(path, secret)]
        return bool(urls) and not any(_same(address, url) for address in urls)


class ConnectionOrigins(NamedTuple):
    """Where the settings of a connection come from: what is refused because of it, :meth:`refuse_mixed` says."""

    places: Sequence[Place]  # in the order of precedence
    found: Mapping[str, Any]  # the settings that count, by name
    sources: Mapping[str, str]  # where each comes from, as messages call it
    working: str  # the ``bulkid.toml`` of the working directory; empty where that is the user's own
    user_file: UserFile

    def refuse_mixed(self) -> None:
        """Refuse a connection whose credentials and address come from different files.

        Raises:
            UsageError: The credentials would be sent to an address that they were not given for.
        """
        credentials = self._credentials()
        if not credentials:
            return
        if "url" in self.found:
            self._refuse_address(credentials)
        else:
            self._refuse_journal(credentials)
        if self._is_from_working("ca_bundle") and not self._is_from_working("url"):
            raise self._mixed(credentials[0], "ca_bundle")
        for name in credentials:
            if name.endswith("_file"):
                self._refuse_borrowed(name)

    def _credentials(self) -> list[str]:
        """The credentials to send; a secret that was read from a file counts as that file."""
        given = [name for name in CREDENTIALS if name in self.found and f"{name}_file" not in self.found]
        token = [name for name in given if name.startswith("access_token")]
        return token or given  # a token is sent in place of all others

    def _refuse_address(self, credentials: Sequence[str]) -> None:
        """Refuse an address from another file than the credentials, or that overrides the user's own."""
        address, url = self._file_of("url"), self.found["url"]
        if not address:
            return
        for name in credentials:
            file = self._file_of(name)
            if file and file != address and not self._also_gives(file, url):
                raise self._mixed(name, "url")
        if self._is_from_working("url") and self._overrides(url):
            raise self._mixed(credentials[0], "url")

    def _refuse_journal(self, credentials: Sequence[str]) -> None:
        """Refuse to resume runs on their server where the file of the working directory names the journal."""
        for state in ("state_dir", "database_url_file"):
            if self._is_from_working(state):
                for name in credentials:
                    if self._file_of(name) not in {"", self.working}:
                        raise self._mixed(name, state)

    def _refuse_borrowed(self, name: str) -> None:
        """Refuse the file of a secret that is the user's own, where another file than the user's names it."""
        file, secret, user_file = self._file_of(name), self.found[name], self.user_file
        if self._is_from_working(name) and _lies_in(secret, user_file.folder):
            problem = f"the file that it names lies in {user_file.folder}, whose secrets are for the settings there"
        elif (
            file not in {"", str(user_file.path)}
            and self._file_of("url")
            and user_file.gives_elsewhere(secret, self.found.get("url"))
        ):
            problem = f"{user_file.path} gives the file that it names to another server"
        else:
            return
        raise UsageError(
            f"{self.sources[name]}: {problem}.",
            hint=f"Name the file in {user_file.path}, with the url, or in an environment variable.",
        )

    def _file_of(self, name: str) -> str:
        """The file that a setting comes from; empty for none."""
        return next((file for file, values in self.places if name in values), "")

    def _is_from_working(self, name: str) -> bool:
        """Whether a setting comes from the working directory's file, and that is not the user's own."""
        return bool(self.working) and self._file_of(name) == self.working

    def _also_gives(self, file: str, url: object) -> bool:
        """Whether a file gives the same address itself."""
        return any(where == file and "url" in values and _same(values["url"], url) for where, values in self.places)

    def _overrides(self, url: object) -> bool:
        """Whether the address of the working directory's file overrides another one that the user's files give."""
        return any(
            where != self.working and "url" in values and not _same(values["url"], url) for where, values in self.places
        )

    def _mixed(self, credential: str, other: str) -> UsageError:
        what = {"url": "address", "ca_bundle": "certificate authorities"}.get(other, "runs that name a server")
        return UsageError(
            f"The credentials come from one place ({self.sources[credential]}) and the {what} from another "
            f"({self.sources[other]}): nothing was sent.",
            hint="Credentials are sent only to a server that the same file names, so that no other file can have them "
            f"sent elsewhere. Put {other} and credentials into one file, or name the server yourself "
            f"({'BULKID_CA_BUNDLE' if other == 'ca_bundle' else '--url or BULKID_URL'}).",
        )


def _is_one_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return False


def _same(configured_url: object, url: object) -> bool:
    return str(configured_url).strip().rstrip("/") == str(url).rstrip("/")


def _lies_in(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return True
