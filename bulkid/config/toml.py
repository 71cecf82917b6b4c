"""Reading a TOML file that a person wrote, with errors for that person."""

from pathlib import Path
from typing import Any

from bulkid.errors import UsageError
from bulkid.file_kind import special_kind


def read_toml(path: Path) -> dict[str, Any] | None:
    """The file as a mapping; None when there is no such file.

    Raises:
        UsageError: It cannot be read, or is no TOML file.
    """
    import tomllib

    try:
        if kind := special_kind(path):
            raise UsageError(f"{path} is {kind}, not a TOML file.")
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text.", hint="Save it as UTF-8.") from None
    except RecursionError:
        raise UsageError(f"{path} is not a TOML file that bulkid takes: it nests too deep.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not a TOML file: {error}.") from None
