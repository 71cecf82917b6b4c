"""Importing aiohttp in the time that a command of a few seconds can spare."""

import os
import sys

_CERT_FILE = "SSL_CERT_FILE"  # where OpenSSL looks for trusted certificates, if it is set


def import_aiohttp() -> None:
    """Import aiohttp without its loading the operating system's certificates twice, where it was not imported yet.

    While it is imported, aiohttp makes two TLS contexts for sessions that bring none, which takes up to 0.1 s. Sessions
    of bulkid bring their own (:func:`bulkid.identity.http_session.open_session`), so those two may be without any
    certificate. A program that uses bulkid as a library may need them: only the ``bulkid`` command calls this. Call it
    before a function of :mod:`bulkid.runs` is looked up that sends requests, since that imports aiohttp; and before the
    process has other threads, since it sets a variable of the environment for that time.
    """
    if "aiohttp" in sys.modules:
        return
    set_by_user = os.environ.get(_CERT_FILE)
    os.environ[_CERT_FILE] = os.devnull
    try:
        import aiohttp  # noqa: F401 - for what its import does
    finally:
        if set_by_user is None:
            del os.environ[_CERT_FILE]
        else:
            os.environ[_CERT_FILE] = set_by_user
