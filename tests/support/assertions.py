"""Client assertions for the sandbox: what a platform such as GitHub Actions would issue."""

import time
from pathlib import Path
from typing import Any

from bulkid.sandbox.options import FederatedCredential
from bulkid.sandbox.tokens import sign_assertion

KEY = "a key of the tests"
FEDERATED = FederatedCredential("https://issuer.example.com", "repo:acme/robots", "https://cloud.example.com", key=KEY)


def assertion(*, expires_at: float | None = None, key: str = KEY, **claims: Any) -> str:
    """An assertion that the sandbox takes with `FEDERATED`, unless told otherwise; by default valid for an hour."""
    return sign_assertion(
        {
            "iss": FEDERATED.issuer,
            "sub": FEDERATED.subject,
            "aud": FEDERATED.audience,
            "exp": int(time.time() + 3600 if expires_at is None else expires_at),
            **claims,
        },
        key,
    )


def assertion_file(path: Path, **claims: Any) -> Path:
    """Write an assertion to a file."""
    path.write_text(assertion(**claims) + "\n", encoding="utf-8")
    return path
