"""The difference between what is wanted of an account and what it is; its words; and whether a state shows it done."""

from bulkid.errors import PermissionDeniedError
from bulkid.model import Account, AccountUpdate, DesiredState
from bulkid.planning.directory import Directory
from bulkid.text import fold, listing, quote


def diff(desired: DesiredState, account: Account | None, directory: Directory) -> AccountUpdate:
    """Work out what must be sent so that the account becomes as desired: nothing more than what differs.

    The account's current display name is carried along where no other is desired: it is not documented whether
    a PUT without one keeps it.

    Args:
        desired: What is wanted, in ids.
        account: The account's present state (or the state before, when the present one cannot be read); None when
            blind: then everything desired is sent.
        directory: Tells which group is Everyone, and which groups there are.

    Raises:
        PermissionDeniedError: An exact list of groups is desired, and the present groups cannot be known, as when
            a run is resumed that may no longer read.
    """
    add, remove = _membership(desired, account, directory)
    if account is None:
        name, renames = desired.display_name, desired.display_name is not None
        return AccountUpdate(desired.account_id, desired.name, name, renames, add, remove, None)
    current = account.display_name
    name = current if desired.display_name is None else desired.display_name
    return AccountUpdate(account.id, account.name, name, name != current, add, remove, account)


def confirms(change: AccountUpdate, after: Account) -> bool:
    """Whether a state that the server told, after the change was sent, is the one that the change wanted.

    Another account's state confirms nothing, and a server that does not say which groups the account is in confirms no
    change of groups.
    """
    if fold(after.id) != fold(change.account_id):
        return False
    if change.display_name is not None and change.display_name != after.display_name:
        return False
    if not (change.add or change.remove):
        return True
    if after.group_ids is None:
        return False
    groups = _folded(after.group_ids)
    return all(fold(group) in groups for group in change.add) and not any(
        fold(group) in groups for group in change.remove
    )


def shortfall(change: AccountUpdate, after: Account, directory: Directory) -> str:
    """Say in readable words what is not as the change wanted: ``display name is "Roby", not "Robbie"; not in Finance``.

    Returns:
        The words; "" exactly when the state confirms the change.
    """
    if fold(after.id) != fold(change.account_id):
        return f"the state shown is that of another account, {after.id}"
    parts = []
    if change.display_name is not None and change.display_name != after.display_name:
        parts.append(f"display name is {_shown(after.display_name)}, not {_shown(change.display_name)}")
    if after.group_ids is None:
        if change.add or change.remove:
            parts.append("the server does not say which groups the account is in")
        return "; ".join(parts)
    groups = _folded(after.group_ids)
    missing = [directory.group_name(group) for group in change.add if fold(group) not in groups]
    kept = [directory.group_name(group) for group in change.remove if fold(group) in groups]
    if missing:
        parts.append(f"not in {listing(missing)}")
    if kept:
        parts.append(f"still in {listing(kept)}")
    return "; ".join(parts)


def describe(change: AccountUpdate, directory: Directory) -> str:
    """Describe a change on one line: ``display name: Roby -> Robbie; + Finance; - Trainees``; "" when it is empty.

    Groups go by name where it is known. Without the state before, the old display name is left out.
    """
    parts = []
    if change.renames:
        old = "" if change.before is None else f"{change.before.display_name or '(none)'} "
        parts.append(f"display name: {old}-> {change.display_name or '(none)'}")
    parts += [f"+ {directory.group_name(group)}" for group in change.add]
    parts += [f"- {directory.group_name(group)}" for group in change.remove]
    return "; ".join(parts)


def _membership(
    desired: DesiredState, account: Account | None, directory: Directory
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the groups to add and to remove."""
    if desired.exact is not None:
        return _to_exact(desired, desired.exact, account, directory)
    if account is None or account.group_ids is None or not (desired.add or desired.remove):
        return desired.add, desired.remove
    present = _folded(account.group_ids)
    add = tuple([group for group in desired.add if fold(group) not in present])
    remove = tuple([group for group in desired.remove if fold(group) in present])
    # The desired state's own tuples where nothing falls away: many accounts share them.
    return (desired.add if len(add) == len(desired.add) else add), (
        desired.remove if len(remove) == len(desired.remove) else remove
    )


def _to_exact(
    desired: DesiredState, exact: tuple[str, ...], account: Account | None, directory: Directory
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if account is None or directory.groups is None:
        raise PermissionDeniedError(
            f"The groups of the account {quote(desired.name or desired.account_id)} are to be exactly as listed, but "
            "the present accounts and groups could not be read.",
            hint="Give the application the scopes PM.RobotAccount.Read and PM.Group.Read, and do not use --no-read.",
        )
    wanted = _folded(exact)
    if account.group_ids is None:
        # The server does not say: leaving a group that the account is not in does nothing, so leave all others.
        present: frozenset[str] = frozenset()
        held = tuple(group.id for group in directory.groups)
    else:
        present = _folded(account.group_ids)
        held = account.group_ids
    everyone = fold(directory.everyone_id)
    add = tuple([group for group in exact if fold(group) not in present])
    remove = tuple(
        [group for group in held if fold(group) not in wanted and not _may_be_everyone(group, everyone, directory)]
    )
    return add, remove


def _may_be_everyone(group_id: str, everyone: str, directory: Directory) -> bool:
    """Whether a group is Everyone; or may be, being unknown where the groups that were read hold no Everyone."""
    if everyone:
        return fold(group_id) == everyone
    return directory.group_with_id(group_id) is None


def _folded(group_ids: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(fold, group_ids))


def _shown(display_name: str) -> str:
    return quote(display_name) if display_name else "empty"
