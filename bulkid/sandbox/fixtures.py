"""The seeded directory: the same accounts and groups for the same seed, on every machine and Python.

Each account's attributes are digits of a hash over the seed and its name, so that a larger sandbox holds the accounts
of a smaller one, with the same ids.
"""

from hashlib import blake2b
from itertools import chain, count, islice

from bulkid.model import EVERYONE
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.organization import AccountRecord, GroupRecord, Organization, moment

ADMINISTRATORS = "Administrators"
AUTOMATION_USERS = "Automation Users"
VENDOR_ACCOUNT = "88-uv"
VENDOR_GROUPS = ("gryff-01", "alumni-02")

BUILT_IN = (EVERYONE, ADMINISTRATORS, AUTOMATION_USERS)

GROUP_NAMES = (
    EVERYONE,
    *VENDOR_GROUPS,
    ADMINISTRATORS,
    AUTOMATION_USERS,
    "Finance",
    "Trainees",
    "HR",
    "Sales, EU",
    "Forschung & Entwicklung",
    "Zürich",
    "営業部",
    "Бухгалтерия",
    "مالية",
    "R&D; Labs",
    "Night Shift 🌙",
    "Legal",
    "Logistics",
    "Payroll",
    "IT Operations",
    "Procurement",
    "Customer Care",
    "Audit | Risk",
    "Legacy (read only)",
)
"""What the groups are called, the vendor's two first; the two carry their name as their id."""

ODD_NAMES = (
    "Müller",
    "Zoë",
    "Cafe\u0301-bot",  # the accent as a character of its own
    "Łukasz",
    "Ångström",
    "straße-7",
    "İstanbul",
    "北京",
    "東京-経理",
    "서울 로봇",
    "Робот-1",
    "Ελένη",
    "روبوت-مالي",
    "רובוט",
    "ไทย-๑",
    "🤖-one",
    "👩‍💻 dev",
    'The "Quoted" One',
    "O'Brien",
    "Smith, John",
    "split;semicolon",
    "pipe|pipe",
    "[bracketed]",
    "back\\slash",
    "slash/and%20percent",
    "question?mark#hash",
    "plus+and&amp",
    "=SUM(1)",
    "+49 robot",
    "-minus",
    "@mention",
    "00123",
    "1e5",
    "12345678901234567",
    "NA",
    "null",
    "TRUE",
    "#N/A robot",
    "<b>bold</b>",
    "many   spaces",
)
"""Names that a spreadsheet, a terminal or a URL handles wrongly at the first try."""

ROLES = ("Invoice Bot", "Payroll Bot", "Mail Sorter", "Claims Reader", "Order Entry", "Ledger Check", "Onboarding")

NOW_S = 1_767_225_600.0
"""The moment that times are counted back from unless another is given: the beginning of 2026, in seconds since 1970."""

YEAR_S = 365 * 86_400
LOGINS_S = 2 * YEAR_S
"""How far back the newest login of an account lies at most."""

_CREATIONS_S = 5 * YEAR_S
_GROUPS_CREATED_S = 1_609_459_200  # the beginning of 2021


def seeded_organization(options: SandboxOptions, now: float = NOW_S) -> Organization:
    """Build the directory that the options describe.

    The vendor's account comes first, then the oddly named ones (at most a tenth of all), then ``robot-0001`` and on.
    Two in three have logged in, at any moment of the two years before ``now`` (seconds since 1970).
    """
    groups = [_group(options.seed, name) for name in islice(_group_names(), options.groups)]
    joinable = [group.id for group in groups if group.name not in (*BUILT_IN, *VENDOR_GROUPS)]
    users = next((group.id for group in groups if group.name == AUTOMATION_USERS), None)
    odd = ODD_NAMES[: max(0, options.accounts - 1) // 10]
    names = islice(chain(odd, (f"robot-{number:04d}" for number in count(1))), max(0, options.accounts - 1))
    accounts = [_vendor_account()] if options.accounts else []
    accounts += [_account(options.seed, name, joinable, users, int(now)) for name in names]
    return Organization(accounts, groups, list_everyone=options.list_everyone)


def created_id(seed: int, number: int) -> str:
    """The id of the account that is created as this number in a sandbox of this seed."""
    return _guid(_digest(seed, "created", str(number)))


def _vendor_account() -> AccountRecord:
    return AccountRecord(VENDOR_ACCOUNT, "roby", "Roby", "2021-05-04T09:30:00.1234567Z", None, {VENDOR_GROUPS[0]})


def _account(seed: int, name: str, joinable: list[str], users: str | None, now: int) -> AccountRecord:
    digest = _digest(seed, "account", name)
    group_ids = {joinable[byte % len(joinable)] for byte in digest[20 : 20 + digest[16] % 4]} if joinable else set()
    if users is not None and digest[17] < 205:  # noqa: PLR2004 - four in five
        group_ids.add(users)
    last = _seconds(digest[28:32], LOGINS_S) if digest[18] % 3 else None  # before now
    since = _seconds(digest[24:28], _CREATIONS_S if last is None else _CREATIONS_S - LOGINS_S) + (last or 0)
    ticks = int.from_bytes(digest[24:28], "big") % 10_000_000
    return AccountRecord(
        id=_guid(digest),
        name=name,
        display_name=_display_name(name, digest),
        created=moment(now - since, ticks),
        last_login=None if last is None else moment(now - last, ticks),
        group_ids=group_ids,
    )


def _display_name(name: str, digest: bytes) -> str | None:
    kind = digest[19] % 8
    if kind == 0:
        return None
    if kind in (1, 2):
        return ROLES[digest[18] % len(ROLES)]  # the same for many: display names are not unique
    if name.startswith("robot-"):
        return f"Robot {name[6:].lstrip('0')}"
    return f"{name} (bot)"


def _group(seed: int, name: str) -> GroupRecord:
    digest = _digest(seed, "group", name)
    created = moment(_GROUPS_CREATED_S + _seconds(digest[24:28], YEAR_S), int(digest[24]))
    group_id = name if name in VENDOR_GROUPS else _guid(digest)
    return GroupRecord(group_id, name, "builtIn" if name in BUILT_IN else "custom", created, created)


def _group_names() -> chain[str]:
    return chain(GROUP_NAMES, (f"Team {number}" for number in count(1)))


def _digest(seed: int, kind: str, name: str) -> bytes:
    return blake2b(f"{seed}/{kind}/{name}".encode(), digest_size=32).digest()


def _guid(digest: bytes) -> str:
    """A version 4 GUID out of sixteen bytes; by hand, because a hundred thousand are made at once."""
    text = digest[:16].hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[digest[8] & 3]}{text[17:20]}-{text[20:]}"


def _seconds(four: bytes, most: int) -> int:
    """A number from 1 to ``most`` out of four bytes."""
    return int.from_bytes(four, "big") % most + 1
