"""The made-up organisation of the benchmarks: who is in it follows from a number, so that sheet and server agree."""

ORGANIZATION = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
EVERYONE = "00000000-0000-4000-9000-000000000000"
GROUPS = 41  # Everyone, which is number 0, and 40 others
TOKEN = "benchmark-token"


def account_id(number: int) -> str:
    """The id of the account with this number, from 0."""
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def account_name(number: int) -> str:
    """Its unique name."""
    return f"robot-{number:06d}"


def group_id(number: int) -> str:
    """The id of the group with this number; 0 is Everyone."""
    return f"00000000-0000-4000-9000-{number:012x}"


def group_name(number: int) -> str:
    """Its name."""
    return "Everyone" if number == 0 else f"Team {number:02d}"
