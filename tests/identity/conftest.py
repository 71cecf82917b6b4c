import aiohttp
import pytest

from bulkid.identity.fast_path import is_supported

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")


@pytest.fixture(autouse=True)
def _no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests set what they need; what the machine has set must not change them."""
    for name in _PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(
    params=[
        pytest.param(
            True,
            id="direct",
            marks=pytest.mark.skipif(not is_supported(), reason=f"aiohttp {aiohttp.__version__} is not known"),
        ),
        pytest.param(False, id="session"),
    ],
)
def fast_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Each test holds for both ways to send: the short one, and the one that is taken where aiohttp is not known."""
    if not request.param:
        monkeypatch.setattr("bulkid.identity.client.is_supported", lambda: False)
    return bool(request.param)
