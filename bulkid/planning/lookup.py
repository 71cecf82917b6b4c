"""Which account and which groups a row means: texts that are ids or names become ids; near names are suggested."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from bulkid.model import Account, Action, Group, RowError, RowRequest
from bulkid.planning.creation import GUID, MAX_NAME, NewGroups, ResolveOptions, is_too_long
from bulkid.planning.directory import Absent, Directory, Unknown, is_everyone
from bulkid.planning.merge import rows_with_other_values
from bulkid.resources import ACTION_COLUMN, current
from bulkid.text import fold, listing, quote, skeleton

_CUTOFF = 70.0  # percent of rapidfuzz's ratio: "Traines" is 93 to "Trainees", "Fin" is 60 to "Finance"
_SHOWN = 3
_LONGEST = 200  # characters; what is longer is a paragraph, not a name with a typing error
_COMPARISONS = 5_000_000  # in all; about a second. 50,000 bad rows over 100,000 names would be 5,000,000,000


class NameSuggester:
    """Suggests existing names for one that is unknown. ``names`` is called once, for the first suggestion.

    Each distinct text is compared once, and after a few million comparisons the suggester gives up, so that a sheet
    that is wrong in every row is refused as fast as one that is wrong in one.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._read = names
        self._names: tuple[str, ...] | None = None
        self._forms: list[str] = []
        self._left = _COMPARISONS
        self._found: dict[str, tuple[str, ...]] = {}
        self._not_compared: set[str] = set()

    def may_be_near(self, text: str) -> str:
        """Like :meth:`question`, with a sentence also for a text that the suggester has not compared."""
        question = self.question(text)
        if not question and skeleton(text) in self._not_compared:
            return "bulkid has not compared it with the existing names, since it is long or there are too many."
        return question

    def question(self, text: str) -> str:
        """Ask whether the user meant one of up to three existing names that are near the text; "" when none is."""
        names = self._suggest(text)
        if not names:
            return ""
        question = f"Did you mean {listing([quote(name) for name in names], 'or')}?"
        if any(skeleton(name) == skeleton(text) for name in names):  # the two may even look the same to the eye
            question += " It is written with other characters or blanks: copy the name from an export, or give the id."
        return question

    def _suggest(self, text: str) -> tuple[str, ...]:
        key = skeleton(text)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._search(key)
        return found

    def _search(self, key: str) -> tuple[str, ...]:
        if self._names is None:
            self._names = tuple(dict.fromkeys(self._read()))
            self._forms = [skeleton(name) for name in self._names]
        if not key or len(key) > _LONGEST or len(self._forms) > self._left:
            self._not_compared.add(key)
            return ()
        self._left -= len(self._forms)
        from rapidfuzz import fuzz, process

        hits = process.extract(key, self._forms, scorer=fuzz.ratio, limit=_SHOWN, score_cutoff=_CUTOFF)
        return tuple(self._names[index] for _, _, index in hits)


def needed_to_read_accounts() -> str:
    """Return what the application needs so that accounts can be read, as part of a sentence."""
    return f"the scope {current().read_scope} (and leave --no-read out)"


_CHECK = "Check the spelling, and that it is the right organisation."
_FIELD_GETTERS: Mapping[str, Callable[[RowRequest], str]] = {"id": attrgetter("account_id"), "name": attrgetter("name")}


class AccountKey(NamedTuple):
    """The account that a row means where none was read. Rows with the same key are for the same account."""

    key: str | tuple[str, str]  # what the row names it by
    account_id: str  # "" of an account that does not exist and is named by its name
    name: str
    action: Action = Action.UPDATE  # what the row does with it


class DirectoryAccounts:
    """Finds accounts in a directory that was read."""

    def __init__(self, directory: Directory, columns: Mapping[str, str], options: ResolveOptions) -> None:
        self._directory = directory
        self._account = directory.account
        self._columns = columns
        self._create_missing = options.create_missing
        self._suggester = NameSuggester(lambda: (account.name for account in directory.accounts or ()))

    def find(self, row: RowRequest) -> Account | AccountKey | RowError:
        """Find the row's account, or the key of one that does not exist; or say why there is none."""
        if row.account_id:
            account = self._account(row.account_id)
            if account is not None and (not row.name or row.name == account.name):
                return account
            return self._by_id(row)
        if row.name:
            return self._by_name(row)
        return _no_account(row)

    def _by_id(self, row: RowRequest) -> Account | AccountKey | RowError:
        """Find the account of a row that gives an id. A row that deletes an account which is gone gets its key."""
        account = self._directory.find(row.account_id)
        if isinstance(account, Unknown):
            message = (
                f"Whether a {current().singular} has the id {quote(row.account_id)} is not known: "
                f"{account.reason}. {_CHECK}"
            )
            return self._row_error(row, current().id_column, "unknown_account", message)
        if isinstance(account, Absent):
            if row.action is Action.DELETE and not self._names_another(row):
                named_by = ("name", fold(row.name)) if row.name else ("id", fold(row.account_id))
                return AccountKey(named_by, row.account_id, row.name, Action.DELETE)
            message = (
                f"No {current().singular} has the id {quote(row.account_id)} in this organisation. {self._hint(row)}"
            )
            return self._row_error(row, current().id_column, "unknown_account", message)
        if row.name and row.name != account.name and account not in self._directory.accounts_named(row.name):
            message = (
                f"The id {quote(account.id)} belongs to the account {quote(account.name)}, not to {quote(row.name)}. "
                "Correct the one that is wrong, or give only one of the two."
            )
            return self._row_error(row, "name", "account_mismatch", message)
        return account

    def _by_name(self, row: RowRequest) -> Account | AccountKey | RowError:
        """Find the account of a row that gives no id; a missing one has a key where the row may create or delete it."""
        found = self._directory.accounts_named(row.name)
        if len(found) == 1:
            return found[0]
        if found:
            named = listing([quote(account.name) for account in found])
            ids = listing([quote(account.id) for account in found], "or")
            message = (
                f"Several {current().plural} are named {quote(row.name)}, apart from case: {named}. Give the id: {ids}."
            )
            return self._row_error(row, "name", "ambiguous_account", message)
        by_id = self._directory.account(row.name)
        if row.action is Action.CREATE or (by_id is None and (row.action is Action.DELETE or self._create_missing)):
            return self._missing(row)
        if by_id is not None:
            hint = "It is the id of an account: put it in the column robot_account_id."
        else:
            hint = self._suggest(row.name)
        message = f"No {current().singular} is named {quote(row.name)} in this organisation. {hint}"
        return self._row_error(row, "name", "unknown_account", message)

    def _missing(self, row: RowRequest) -> AccountKey | RowError:
        """The key of an account whose name no account has: the row creates it, or it is gone already."""
        if row.action is not Action.DELETE and is_too_long(row.name):
            message = f"The name is too long to create: it has at most {MAX_NAME} characters. Shorten it."
            return self._row_error(row, "name", "name_too_long", message)
        action = Action.DELETE if row.action is Action.DELETE else Action.CREATE
        return AccountKey(("name", fold(row.name)), "", row.name, action)

    def _names_another(self, row: RowRequest) -> bool:
        """Whether a row with an id that no account has may still mean an account that exists."""
        by_name = self._directory.accounts_named
        return bool(by_name(row.account_id) or (row.name and by_name(row.name)))

    def _hint(self, row: RowRequest) -> str:
        """Suggest what the user means by an id of no account: often it is a name, or the row has a name that exists."""
        if self._directory.accounts_named(row.account_id):
            return "It is the name of an account: put it in the column name."
        named = self._directory.account_named(row.name) if row.name else None
        if named is not None:
            return f"The account {quote(named.name)} has the id {quote(named.id)}."
        if row.action is Action.CREATE or (self._create_missing and row.name):
            return "The server makes the id of a new account: leave it blank."
        # A GUID is near no name: seeking one would only use up what may be spent on suggestions.
        return _CHECK if GUID.fullmatch(row.account_id) else self._suggest(row.account_id)

    def _suggest(self, text: str) -> str:
        return self._suggester.question(text) or _CHECK

    def _row_error(self, row: RowRequest, field: str, code: str, message: str) -> RowError:
        value = row.name if field == "name" else row.account_id
        return RowError(row.row, self._columns.get(field, ""), value, code, message)


def find_blind(row: RowRequest, columns: Mapping[str, str]) -> AccountKey | RowError:
    """Take the account by the row's id, since no accounts were read; a name alone cannot be looked up."""
    if row.action is not Action.UPDATE:
        message = (
            f"An account is {'created' if row.action is Action.CREATE else 'deleted'} only where the accounts were "
            f"read, and they were not. Give the application {needed_to_read_accounts()}."
        )
        return RowError(row.row, columns.get(ACTION_COLUMN, ""), row.action.value, "needs_directory", message)
    if row.account_id:
        return AccountKey(fold(row.account_id), row.account_id, row.name)
    if not row.name:
        return _no_account(row)
    message = (
        f"The account {quote(row.name)} is given by name only, and the accounts were not read. "
        f"Give its id, or give the application {needed_to_read_accounts()}."
    )
    return RowError(row.row, columns.get("name", ""), row.name, "needs_id", message)


class SheetAccounts:
    """Tells accounts apart by the sheet alone, for a check without network."""

    def __init__(self, rows: Iterable[RowRequest]) -> None:
        self._ids = {fold(row.name): fold(row.account_id) for row in rows if row.account_id and row.name}

    def find(self, row: RowRequest) -> AccountKey | RowError:
        """Name the row's account by its id where any row gives that, else by its name."""
        if not (row.account_id or row.name):
            return _no_account(row)
        folded = fold(row.account_id or row.name)
        account_id = folded if row.account_id else self._ids.get(folded)
        key = f"name {folded}" if account_id is None else f"id {account_id}"
        return AccountKey(key, row.account_id, row.name, row.action)


def identity_row_errors(rows: Sequence[RowRequest], columns: Mapping[str, str]) -> dict[int, RowError]:
    """Find rows that give one name to two ids, or two names to one id: at least one of each such pair is wrong.

    Only needed where no directory can tell which. The errors are by row number.
    """
    row_errors: dict[int, RowError] = {}
    for same, other, field in (("name", "id", current().id_column), ("id", "name", "name")):
        for rows_by_value in _differing(rows, _FIELD_GETTERS[same], _FIELD_GETTERS[other]):
            numbers = {value: [row.row for row in found] for value, found in rows_by_value.items()}
            for value, others in rows_with_other_values(numbers):
                for row in rows_by_value[value]:
                    own = _FIELD_GETTERS[other](row)
                    message = (
                        f"This row gives the {other} {quote(own)}, but {others} another one for the same {same}. "
                        "Correct the one that is wrong."
                    )
                    row_error = RowError(row.row, columns.get(field, ""), own, "account_mismatch", message)
                    row_errors.setdefault(row.row, row_error)
    return row_errors


def _differing(
    rows: Sequence[RowRequest], key: Callable[[RowRequest], str], value: Callable[[RowRequest], str]
) -> list[dict[str, list[RowRequest]]]:
    """Group the rows that give both by key, then by value, and keep the keys that have more than one value.

    Nearly always that is none of them: so the first look holds one value per key, and only the few keys with
    several are looked at again.
    """
    both = [row for row in rows if key(row) and value(row)]
    first: dict[str, str] = {}
    several: dict[str, dict[str, list[RowRequest]]] = {}
    for row in both:
        folded = fold(key(row))
        if first.setdefault(folded, fold(value(row))) != fold(value(row)):
            several[folded] = {}
    if several:
        for row in sorted(both, key=attrgetter("row")):  # messages name them in the order of the sheet
            if (folded := fold(key(row))) in several:
                several[folded].setdefault(fold(value(row)), []).append(row)
    return list(several.values())


def _no_account(row: RowRequest) -> RowError:
    return RowError(row.row, "", "", "missing_account", "The row names no account. Give its id or its name.")


_UNKNOWN_GROUP = "unknown_group"
_LISTS_REMEMBERED = 10_000  # distinct list cells; more than that and they hardly repeat


class GroupMatch(NamedTuple):
    """What one text means: a group's id, or Everyone, or nothing (then with a code and a message)."""

    group_id: str = ""
    everyone: bool = False
    code: str = ""
    message: str = ""


class GroupList(NamedTuple):
    """What one list cell means: distinct ids in the cell's order, without Everyone."""

    ids: tuple[str, ...]
    everyone: str  # the text that meant Everyone; "" when none did
    unresolved: tuple[tuple[str, GroupMatch], ...]  # texts that mean no group, with the reason


class GroupResolver:
    """Resolves list cells. Equal cells share one result, so that 100,000 rows hold a few tuples between them."""

    def __init__(self, look_up: Callable[[str], GroupMatch]) -> None:
        self._look_up = look_up
        self._texts: dict[str, GroupMatch] = {}
        self._lists: dict[tuple[str, ...], GroupList] = {(): GroupList((), "", ())}

    def resolve(self, texts: tuple[str, ...]) -> GroupList:
        """Resolve the texts of one list cell."""
        known = self._lists.get(texts)
        if known is None:
            known = self._resolve(texts)
            if len(self._lists) < _LISTS_REMEMBERED:
                self._lists[texts] = known
        return known

    def _resolve(self, texts: tuple[str, ...]) -> GroupList:
        ids: dict[str, None] = {}
        everyone = ""
        unresolved: dict[str, GroupMatch] = {}
        for text in texts:
            found = self._texts.get(text)
            if found is None:
                found = self._texts[text] = self._look_up(text)
            if found.code:
                unresolved[text] = found
            elif found.everyone:
                everyone = everyone or text
            else:
                ids[found.group_id] = None
        return GroupList(tuple(ids), everyone, tuple(unresolved.items()))


class DirectoryGroups:
    """Finds groups in a directory that was read, and those that the run may create."""

    def __init__(self, directory: Directory, new_groups: NewGroups | None = None) -> None:
        self._directory = directory
        self._new_groups = new_groups
        self._suggester = NameSuggester(lambda: (group.name for group in directory.groups or ()))

    def __call__(self, text: str) -> GroupMatch:
        """Find the group with this id or name, or the new group of this name; or say why there is none."""
        found = self.find_existing(text)
        if found.code != _UNKNOWN_GROUP or self._new_groups is None:
            return found
        created = self._new_groups.create(text, lambda: self._suggester.may_be_near(text))
        if isinstance(created, Group):
            return GroupMatch(created.id)
        return self._unknown(text, created) if created else found

    def find_existing(self, text: str) -> GroupMatch:
        """Find the group with this id or name among those that exist, or say why there is none."""
        found = self._directory.groups_matching(text)
        if len(found) == 1:
            everyone = fold(found[0].id) == fold(self._directory.everyone_id)
            return GroupMatch(found[0].id, everyone)
        if found:
            named = listing([quote(group.name) for group in found])
            ids = listing([quote(group.id) for group in found], "or")
            message = f"Several groups are named {quote(text)}, apart from case: {named}. Give the id: {ids}."
            return GroupMatch(code="ambiguous_group", message=message)
        if is_everyone(text):
            return GroupMatch(everyone=True)
        return self._unknown(text, self._suggester.question(text) or "Check the spelling, or create the group first.")

    def _unknown(self, text: str, advice: str) -> GroupMatch:
        message = f"No group has the id or the name {quote(text)} in this organisation. {advice}"
        return GroupMatch(code=_UNKNOWN_GROUP, message=message)


class SheetGroups:
    """Takes groups by the text that the sheet gives, since none could be read; texts differing by case are one."""

    def __init__(self) -> None:
        self.spelled: dict[str, str] = {}  # by folded text; Everyone is not among them

    def __call__(self, text: str) -> GroupMatch:
        """Take the text as it stands, in the spelling met first."""
        if is_everyone(text):
            return GroupMatch(everyone=True)
        if not text.strip():
            return GroupMatch(
                code=_UNKNOWN_GROUP, message="The list holds a blank where a group is expected. Remove it."
            )
        return GroupMatch(self.spelled.setdefault(fold(text), text))
