"""The tables, as they are at the newest version (``migrate.py`` brings older files here).

The program names a run by its run id; in the tables a run is a small integer, since 100,000 rows repeat it. Lists and
mappings are JSON text, written and read only by ``codec.py``.
"""

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text

VERSION = 10
"""The version of this schema. Raise it together with a new step in ``migrate.py``."""

metadata = MetaData()

_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER


def _run_column() -> "Column[int]":
    return Column("run", ForeignKey("runs.run", ondelete="CASCADE"), primary_key=True, autoincrement=False)


schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", Double, nullable=False),  # seconds since the epoch
)

runs = Table(
    "runs",
    metadata,
    Column("run", Integer, primary_key=True),
    Column("run_id", String(64), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("status", String(32), nullable=False),
    Column("command", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("user", Text, nullable=False),
    Column("phase", String(32), nullable=False),
    Column("finished_at", Double),
    Column("message", Text, nullable=False),
    Column("report_dir", Text, nullable=False),
    Column("sheet", Text, nullable=False),  # JSON object
    Column("options", Text, nullable=False),  # JSON object
    Column("counters", Text, nullable=False),  # JSON object
    sqlite_autoincrement=True,
)

rows = Table(
    "rows",
    metadata,
    _run_column(),
    Column("row", Integer, primary_key=True, autoincrement=False),
    Column("cells", Text, nullable=False),  # JSON array of strings, as they came in
    Column("account_id", Text, nullable=False),  # as the row says; "" when it does not
    Column("name", Text, nullable=False),
    Column("faults", Text),  # JSON, found on reading; NULL: none
    Column("plan_faults", Text),  # JSON, found later (unknown group, contradiction); NULL: none
    Column("entry", Integer),  # the account's entry; NULL: not planned
    sqlite_with_rowid=False,
)

entries = Table(
    "entries",
    metadata,
    _run_column(),
    Column("entry", Integer, primary_key=True, autoincrement=False),
    Column("account_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("wish", Text, nullable=False),  # JSON
    Column("before", Text),  # JSON; NULL: not known (blind)
    Column("changes", Text, nullable=False),
    Column("intended_at", Double),  # when a request for it may first have left; NULL: surely none has
    Column("status", String(16), nullable=False),
    Column("http_status", Integer),
    Column("error_code", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("via", String(16)),  # "account" | "group"
    Column("finished_at", Double),
    sqlite_with_rowid=False,
)

packed_items = Table(  # items of a plan that have no row in `entries` yet: `Journal.add_plan` packs many into one row
    "packed_items",
    metadata,
    _run_column(),
    Column("first", Integer, primary_key=True, autoincrement=False),  # the number of the first of them
    Column("packed", Text, nullable=False),  # JSON object
)

planned_changes = Table(  # what a plan file asks of each account: `resume` needs them until the run has entries
    "planned_changes",
    metadata,
    _run_column(),
    Column("number", Integer, primary_key=True, autoincrement=False),  # place in the file, from 0
    Column("account_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("desired", Text, nullable=False),  # JSON, like entries.wish
    Column("before", Text),  # JSON; NULL: a blind plan
    Column("changes", Text, nullable=False),
    sqlite_with_rowid=False,
)

slots = Table(
    "slots",
    metadata,
    Column("slot", _SERIAL, primary_key=True),  # never used twice, so that a late note cannot hit another's slot
    Column("organization_id", Text, nullable=False),  # case-folded
    Column("method", String(16), nullable=False),
    Column("owner", String(64), nullable=False),  # run id
    Column("reserved_at", Double, nullable=False),  # these three by the ledger's own time, see clocks
    Column("held_until", Double),  # when it counts as answered without a report; NULL: it was reported
    Column("answered_at", Double),  # NULL: in flight
    Index("slots_by_answer", "organization_id", "method", "answered_at"),
    sqlite_autoincrement=True,
)

clocks = Table(  # the ledger's own time, which only ever goes forward and never faster than true time
    "clocks",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("method", String(16), primary_key=True),
    Column("source", Text, nullable=False),  # whose clock it is read from: a boot of a machine, or the server
    Column("clock_at_anchor", Double, nullable=False),  # what that clock showed ...
    Column("time_at_anchor", Double, nullable=False),  # ... when it was this time
    Column("last_time", Double, nullable=False),  # of the last exchange
    Column("ticks", BigInteger, nullable=False),  # exchanges so far
    Column("longest", Double, nullable=False),  # the longest window that was asked for
)

waiters = Table(  # the runs that want slots, so that each gets its share
    "waiters",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("method", String(16), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("want", Integer, nullable=False),
    Column("since", Double, nullable=False),  # since when it has been given nothing
    Column("seen", Double, nullable=False),
)

locks = Table(
    "locks",
    metadata,
    Column("name", Text, primary_key=True),  # case-folded
    Column("token", String(32), nullable=False),  # of the process that holds it
    Column("beats", BigInteger, nullable=False),  # goes up as long as that process lives
    Column("beat_at", Double, nullable=False),  # by the server's clock
    Column("host", Text, nullable=False),
    Column("life_file", Text, nullable=False),  # locked by the operating system there, as long as that process lives
    Column("record", Text, nullable=False),  # JSON object: who holds it
)

taken_files = Table(
    "taken_files",
    metadata,
    Column("file", _SERIAL, primary_key=True),
    Column("folder", Text, nullable=False),  # the drop folder, absolute
    Column("sha256", String(64), nullable=False),  # of the bytes, in hexadecimal
    Column("name", Text, nullable=False),  # as it was dropped
    Column("working", Text, nullable=False),  # its path while a run works on it, within the folder
    Column("run_id", String(64), nullable=False),  # of the run that is, or is to be, begun for it
    Column("state", String(16), nullable=False),  # "claimed" -> "closing" -> "archived" | "failed"; "gone"
    Column("target", Text, nullable=False),  # where it goes in the end, within the folder; "": not known yet
    Column("taken_at", Double, nullable=False),  # seconds since the epoch
    Column("closed_at", Double),
    # Where its run went, once that run is pruned: until then the run says so. "": not known.
    Column("base_url", Text, nullable=False, server_default=""),
    Column("organization_id", Text, nullable=False, server_default=""),
    Index("taken_files_by_content", "folder", "sha256"),
    sqlite_autoincrement=True,
)

group_refusals = Table(  # groups that refused a PUT for good: planned by account for some time
    "group_refusals",
    metadata,
    Column("organization_id", Text, primary_key=True),  # case-folded
    Column("group_id", Text, primary_key=True),  # case-folded
    Column("name", Text, nullable=False),  # of the group, at that time
    Column("http_status", Integer),
    Column("error", Text, nullable=False),  # the server's words
    Column("refused_at", Double, nullable=False),  # seconds since the epoch
)

# --- the web console: beside the runs, so that several consoles on one database share them

users = Table(
    "console_users",
    metadata,
    Column("key", String(128), primary_key=True),  # user_key(name)
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),  # argon2id, with its salt and costs
    Column("epoch", _SERIAL, nullable=False),  # begins at random; raised to end all sessions there are
    Column("created_at", Double, nullable=False),
)

tokens = Table(
    "console_tokens",
    metadata,
    Column("token_id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),  # SHA-256 of 256 random bits
    Column("owner", Text, nullable=False),  # the user who issued it
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("owner_key", String(128), nullable=False, server_default=""),  # users.key; "": made without users
    Column("expires_at", Double),  # NULL: has no end, as those of older versions
)

sessions = Table(
    "console_sessions",
    metadata,
    Column("session_hash", String(64), primary_key=True),  # SHA-256 of 256 random bits, which the browser alone holds
    Column("user_key", String(128), nullable=False),  # users.key; "": of a console without users
    Column("epoch", _SERIAL, nullable=False),  # the user's (or that console's) when the session began
    Column("address", Text, nullable=False),  # where the user signed in from
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),  # of the last request, about a minute exact
    Index("console_sessions_by_user", "user_key"),
)

audit = Table(
    "console_audit",
    metadata,
    Column("entry", _SERIAL, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("address", Text, nullable=False),  # where the request came from
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("console_audit_by_time", "at"),
    sqlite_autoincrement=True,
)
