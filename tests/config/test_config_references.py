"""Job files refer to the addresses of services by variable or file, and hold none themselves."""

from pathlib import Path

import pytest

from bulkid.config.credentials import addresses_from
from bulkid.config.parse import Secret
from bulkid.errors import UsageError

ENVIRON = {
    "MAIL": "mailtos://me:pw@example.com",
    "BAD": "hush-hush",
    "TWO": "json://a.example.com json://b.example.com",
}


def gather(base: Path, *references: str) -> Secret | None:
    return addresses_from(
        references, name="notify_failure", environ=ENVIRON, base=base, source="job file n.toml, key notify.failure"
    )


def test_addresses_come_from_variables_and_from_files_beside_the_job(tmp_path: Path) -> None:
    (tmp_path / "who").write_text("# chat\njson://c.example.com\n")
    found = gather(tmp_path, "env:MAIL", " file:who ", "env:TWO")
    assert found is not None
    assert found.reveal().split() == [ENVIRON["MAIL"], "#", "chat", "json://c.example.com", *ENVIRON["TWO"].split()]
    assert "example" not in repr(found)


def test_without_references_there_is_no_user_to_tell(tmp_path: Path) -> None:
    assert gather(tmp_path) is None


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("mailto://me:secret-pw@example.com", "an address holds a password or a token"),
        ("slack://secret-pw/b/c", "an address holds a password or a token"),
        ("file://secret-pw", "an address holds a password or a token"),
        ("secret-pw", "an address holds a password or a token"),
        ("env:secret-pw", "the variable that it names is not set"),
        ("env:BAD", "the variable that it names holds no address of a service"),
        ("file:secret-pw", "the file it names cannot be read"),
    ],
)
def test_what_leads_nowhere_is_refused_unshown(tmp_path: Path, reference: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        gather(tmp_path, reference)
    assert caught.value.message.startswith("job file n.toml, key notify.failure: ")
    assert problem in caught.value.message
    assert "secret-pw" not in str(caught.value)
    assert "hush" not in str(caught.value)
