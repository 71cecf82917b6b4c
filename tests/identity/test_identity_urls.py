"""Addresses that admins know or paste lead to the identity base, or to a message that says what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import UsageError
from bulkid.identity.urls import Deployment, complete_url, preset_quota
from bulkid.model import QuotaRule

CLOUD = "https://cloud.uipath.com"

COMPLETED = [
    (f"{CLOUD}/acme", f"{CLOUD}/acme/identity_", Deployment.CLOUD),
    (f"{CLOUD}/acme/", f"{CLOUD}/acme/identity_", Deployment.CLOUD),
    (f"  {CLOUD}/acme/tenant/orchestrator_/robots?tid=1#x ", f"{CLOUD}/acme/identity_", Deployment.CLOUD),
    (f"{CLOUD}/acme/identity_", f"{CLOUD}/acme/identity_", Deployment.CLOUD),
    (f"{CLOUD}/acme/identity_/connect/token", f"{CLOUD}/acme/identity_", Deployment.CLOUD),
    ("cloud.uipath.com/acme", f"{CLOUD}/acme/identity_", Deployment.CLOUD),
    ("HTTPS://Cloud.UiPath.com:443/acme", f"{CLOUD}/acme/identity_", Deployment.CLOUD),
    (f"{CLOUD}./acme", f"{CLOUD}/acme/identity_", Deployment.CLOUD),
    ("https://staging.uipath.com/acme", "https://staging.uipath.com/acme/identity_", Deployment.CLOUD),
    ("https://alpha.uipath.com/acme", "https://alpha.uipath.com/acme/identity_", Deployment.CLOUD),
    ("https://govcloud.uipath.us/acme", "https://govcloud.uipath.us/acme/identity_", Deployment.PUBLIC_SECTOR),
    (
        "https://big.dedicated.uipath.com/acme/portal_/home",
        "https://big.dedicated.uipath.com/acme/identity_",
        Deployment.DEDICATED,
    ),
    ("https://orchestrator.example.com", "https://orchestrator.example.com/identity", Deployment.STANDALONE),
    ("orchestrator.example.com:8443", "https://orchestrator.example.com:8443/identity", Deployment.STANDALONE),
    ("https://o.example.com/identity/", "https://o.example.com/identity", Deployment.STANDALONE),
    ("https://o.example.com/Identity/api/RobotAccount/1", "https://o.example.com/identity", Deployment.STANDALONE),
    ("https://o.example.com/identity/connect/token", "https://o.example.com/identity", Deployment.STANDALONE),
    ("https://o.example.com/uipath/identity", "https://o.example.com/uipath/identity", Deployment.STANDALONE),
    ("https://o.example.com/odata/Robots", "https://o.example.com/identity", Deployment.STANDALONE),
    ("https://o.example.com/account/login?x=1", "https://o.example.com/identity", Deployment.STANDALONE),
    ("https://suite.example.com/acme", "https://suite.example.com/acme/identity_", Deployment.SUITE),
    ("https://suite.example.com/acme/t/orchestrator_/", "https://suite.example.com/acme/identity_", Deployment.SUITE),
    ("https://suite.example.com/acme/t/identity_/", "https://suite.example.com/acme/identity_", Deployment.SUITE),
    ("https://suite.example.com/identity_/api/x", "https://suite.example.com/identity_", Deployment.SUITE),
    ("https://suite.example.com/portal_/home", "https://suite.example.com/identity_", Deployment.SUITE),
    (
        "https://suite.example.com/identity/identity_",
        "https://suite.example.com/identity/identity_",
        Deployment.SUITE,
    ),
    ("http://127.0.0.1:8080/identity", "http://127.0.0.1:8080/identity", Deployment.STANDALONE),
    ("localhost:8080", "http://localhost:8080/identity", Deployment.STANDALONE),
    ("https://localhost:8080", "https://localhost:8080/identity", Deployment.STANDALONE),
    ("http://[::1]:8080/identity", "http://[::1]:8080/identity", Deployment.STANDALONE),
    ("[::1]:8080", "http://[::1]:8080/identity", Deployment.STANDALONE),
    ("https://büro.example.com", "https://xn--bro-hoa.example.com/identity", Deployment.STANDALONE),
    (f"{CLOUD}/große firma".replace(" ", "%20"), f"{CLOUD}/gro%C3%9Fe%20firma/identity_", Deployment.CLOUD),
]


@pytest.mark.parametrize(("address", "url", "deployment"), COMPLETED)
def test_an_address_that_an_admin_knows_leads_to_the_identity_base(
    address: str, url: str, deployment: Deployment
) -> None:
    base = complete_url(address)
    assert (base.url, base.deployment) == (url, deployment)


@pytest.mark.parametrize("url", sorted({url for _, url, _ in COMPLETED}))
def test_a_completed_address_completes_to_itself(url: str) -> None:
    assert complete_url(url).url == url


@pytest.mark.parametrize(
    "address",
    [
        f"{CLOUD}",
        f"{CLOUD}/",
        f"{CLOUD}/identity_",
        f"{CLOUD}/identity/connect/token",
        f"{CLOUD}/portal_/x",
        "https://govcloud.uipath.us",
    ],
)
def test_a_cloud_address_without_its_organisation_is_refused_with_words_that_say_so(address: str) -> None:
    with pytest.raises(UsageError, match="needs the organisation") as refused:
        complete_url(address)
    assert "/ORGANISATION" in refused.value.hint


@pytest.mark.parametrize(
    "address", ["http://o.example.com", "http://10.0.0.1/identity", "HTTP://cloud.uipath.com/acme"]
)
def test_plain_http_to_another_machine_is_refused_since_a_secret_would_travel_in_the_clear(address: str) -> None:
    with pytest.raises(UsageError, match="in the clear"):
        complete_url(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://admin:hunter2@o.example.com",
        "hunter2@o.example.com/x",
        "https://o.example.com\\@hunter2",
        "https:/admin:hunter2@o.example.com",
        "https:///admin:hunter2@o.example.com",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_echoed(address: str) -> None:
    with pytest.raises(UsageError) as refused:
        complete_url(address)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "   ",
        "ftp://o.example.com",
        "https:/cloud.uipath.com/acme",
        "https//cloud.uipath.com/acme",
        "https.//cloud.uipath.com/acme",
        "HTTP/o.example.com",
        "https:o.example.com",
        "https://https://cloud.uipath.com/acme",
        "https://",
        "https://:8080",
        "https://o.example.com:99999",
        "https://o.example.com:x",
        "o example com",
        "https://o.example.com/a\nb",
        "https:\\\\o.example.com",
        "https://[::1",
        "https://o.example.com:0",
        "https://\u00b4",
        "https://o..example.com",
        f"https://{'a' * 64}.example.com",
    ],
)
def test_what_is_no_address_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError):
        complete_url(address)


@given(st.one_of(st.text(), st.text(alphabet="htps:/@.?#[]%\\ ab_1", max_size=40), st.text().map("https://{}".format)))
def test_any_text_is_completed_or_refused_and_what_is_completed_is_safe_to_send_to(text: str) -> None:
    try:
        base = complete_url(text)
    except UsageError:
        return
    assert base.url.isascii()
    assert base.url.isprintable()
    assert not set(base.url) & set(" ?#\\")
    assert "@" not in base.authority
    assert base.url.rsplit("/", 1)[1] in {"identity", "identity_"}
    assert base.url.startswith("https://") or base.host in {"localhost", "::1"} or base.host.startswith("127.")
    assert complete_url(base.url) == base


def test_only_automation_cloud_has_a_preset_quota() -> None:
    published = {"GET": 300, "PUT": 160, "POST": 24_000, "DELETE": 160}
    assert preset_quota(complete_url(f"{CLOUD}/acme")) == tuple(
        QuotaRule(method, count, 300.0) for method, count in published.items()
    )
    for address in ("https://govcloud.uipath.us/a", "https://x.dedicated.uipath.com/a", "https://o.example.com"):
        assert preset_quota(complete_url(address)) == ()
    assert preset_quota(complete_url("https://cloud.uipath.com.evil.example/acme")) == ()
