"""Accounts and groups that come, change and go in any order, against a model of two plain dictionaries."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from tests.support.examples import examples
from tests.support.sandbox_talk import ORG, ask_directly

NAMES = ("roby", "ROBY", "Straße", "STRASSE")
GROUP_IDS = tuple(f"{number:08d}-0000-4000-8000-00000000000a" for number in range(2))

names = st.sampled_from(NAMES)
display_names = st.none() | st.sampled_from(["", "One", "Two"])
numbers = st.integers(0, 3)  # which of those that there are, the newest first; an unknown one above the oldest
lists = st.lists(numbers, max_size=2)


@dataclass
class ModelAccount:
    name: str
    display_name: str | None
    groups: set[str] = field(default_factory=set)  # without Everyone


@dataclass
class ModelGroup:
    name: str
    built_in: bool


def statuses(*, bad: bool, conflict: bool) -> set[int]:
    """The refusals that a request has earned: where there are two, either will do."""
    return {status for status, earned in ((400, bad), (409, conflict)) if earned}


class Directory(RuleBasedStateMachine):
    """A sandbox beside what it should hold."""

    @initialize()
    def begin(self) -> None:
        options = SandboxOptions(accounts=1, groups=3, static_tokens=("1234",), limits=())
        self.sandbox = Sandbox(options)
        self.accounts: dict[str, ModelAccount] = {"88-uv": ModelAccount("roby", "Roby", {"gryff-01"})}
        _, groups = ask_directly(self.sandbox, "GET", f"api/Group/{ORG}")
        self.groups = {each["id"]: ModelGroup(each["name"], each["type"] == "builtIn") for each in groups}
        self.everyone = groups[0]["id"]

    def ask(self, method: str, path: str, **fields: Any) -> tuple[int, Any]:
        return ask_directly(self.sandbox, method, path, {"partitionGlobalId": ORG, **fields} if fields else None)

    def picked(self, known: dict[str, Any], chosen: list[int]) -> list[str]:
        """Ids in capital letters of those there are, by number."""
        ids = list(reversed(known))
        return [ids[number].upper() if number < len(ids) else f"unknown-{number}" for number in chosen]

    def known_groups(self, ids: list[str]) -> set[str] | None:
        """The groups with these ids, without Everyone; None where one is unknown."""
        wanted = {each.lower() for each in ids}
        return wanted - {self.everyone} if wanted <= self.groups.keys() else None

    def taken(self, known: dict[str, Any], name: str, but: str = "") -> bool:
        return any(each.name.casefold() == name.casefold() for key, each in known.items() if key != but)

    # --- accounts

    @rule(name=names, display_name=display_names, joins=lists)
    def create(self, name: str, display_name: str | None, joins: list[int]) -> None:
        to_add = self.picked(self.groups, joins)
        groups = self.known_groups(to_add)
        refusals = statuses(bad=groups is None, conflict=self.taken(self.accounts, name))
        status, got = self.ask("POST", "api/RobotAccount", name=name, displayName=display_name, groupIDsToAdd=to_add)
        assert status in (refusals or {201})
        if groups is not None and not refusals:
            assert got["id"] not in self.accounts
            self.accounts[got["id"]] = ModelAccount(name, display_name, groups)
            assert got["groupIds"] == sorted(groups)

    @rule(which=numbers, display_name=display_names, joins=lists, leaves=lists)
    def update(self, which: int, display_name: str | None, joins: list[int], leaves: list[int]) -> None:
        (account_id,) = self.picked(self.accounts, [which])
        to_add, to_remove = self.picked(self.groups, joins), self.picked(self.groups, leaves)
        added, removed = self.known_groups(to_add), self.known_groups(to_remove)
        account = self.accounts.get(account_id.lower())
        fields = {"displayName": display_name, "groupIDsToAdd": to_add, "groupIDsToRemove": to_remove}
        status, _ = self.ask("PUT", f"api/RobotAccount/{account_id}", **fields)
        if account is None:
            assert status == 404
        elif added is None or removed is None or added & removed or self.everyone.upper() in to_remove:
            assert status == 400
        else:
            assert status == 200
            account.display_name = display_name
            account.groups = (account.groups | added) - removed

    @rule(chosen=lists)
    def delete(self, chosen: list[int]) -> None:
        ids = self.picked(self.accounts, chosen)
        wanted = {each.lower() for each in ids}
        status, _ = self.ask("DELETE", f"api/RobotAccount/{ORG}", robotAccountIDs=ids)
        assert status == (400 if not ids else 204 if wanted <= self.accounts.keys() else 404)
        if status == 204:
            for each in wanted:
                del self.accounts[each]

    @rule(which=numbers)
    def delete_one(self, which: int) -> None:
        (account_id,) = self.picked(self.accounts, [which])
        status, _ = self.ask("DELETE", f"api/RobotAccount/{ORG}/{account_id}")
        assert (status == 204) == (self.accounts.pop(account_id.lower(), None) is not None)
        assert status in (204, 404)

    # --- groups

    @rule(group_id=st.sampled_from(GROUP_IDS), name=names, chosen=lists)
    def create_group(self, group_id: str, name: str, chosen: list[int]) -> None:
        members = self.picked(self.accounts, chosen)
        wanted = {each.lower() for each in members}
        conflict = group_id in self.groups or self.taken(self.groups, name)
        refusals = statuses(bad=not wanted <= self.accounts.keys(), conflict=conflict)
        fields = {"id": group_id.upper(), "name": name, "directoryUserMemberIDs": members}
        status, got = self.ask("POST", "api/Group", **fields)
        assert status in (refusals or {201})
        if not refusals:
            self.groups[group_id] = ModelGroup(name, built_in=False)
            for each in wanted:
                self.accounts[each].groups.add(group_id)
            assert {one["identifier"] for one in got["members"]} == wanted
            assert len(got["members"]) == len(wanted)

    @rule(which=numbers, name=st.none() | names, joins=lists, leaves=lists)
    def update_group(self, which: int, name: str | None, joins: list[int], leaves: list[int]) -> None:
        (group_id,) = self.picked(self.groups, [which])
        key = group_id.lower()
        group = self.groups.get(key)
        name = name or (group.name if group else "any")
        to_add, to_remove = self.picked(self.accounts, joins), self.picked(self.accounts, leaves)
        added, removed = {each.lower() for each in to_add}, {each.lower() for each in to_remove}
        fields = {"name": name, "directoryUserIDsToAdd": to_add, "directoryUserIDsToRemove": to_remove}
        status, _ = self.ask("PUT", f"api/Group/{group_id}", **fields)
        if group is None:
            assert status == 404
            return
        bad = not (added | removed) <= self.accounts.keys() or bool(added & removed)
        bad = bad or (bool(removed) and key == self.everyone) or (group.built_in and name != group.name)
        refusals = statuses(bad=bad, conflict=self.taken(self.groups, name, but=key))
        assert status in (refusals or {200})
        if not refusals:
            group.name = name
            for each in added if key != self.everyone else ():
                self.accounts[each].groups.add(key)
            for each in removed:
                self.accounts[each].groups.discard(key)

    @rule(chosen=lists, one_by_one=st.booleans())
    def delete_groups(self, chosen: list[int], one_by_one: bool) -> None:
        picked = self.picked(self.groups, chosen)
        for ids in [[each] for each in picked] if one_by_one else [picked]:
            wanted = {each.lower() for each in ids}
            if one_by_one:
                status, _ = self.ask("DELETE", f"api/Group/{ORG}/{ids[0]}")
            else:
                status, _ = self.ask("DELETE", f"api/Group/{ORG}", groupIDs=ids)
            if not wanted:
                assert status == 400
            elif not wanted <= self.groups.keys():
                assert status == 404
            elif any(self.groups[each].built_in for each in wanted):
                assert status == 400
            else:
                assert status == 204
                for each in wanted:
                    del self.groups[each]
                for account in self.accounts.values():
                    account.groups -= wanted

    # --- what it must look like, read as a client reads it

    @invariant()
    def lists_agree(self) -> None:
        _, page = self.ask("GET", f"api/RobotAccount/{ORG}?top=1000")
        assert page["totalCount"] == len(self.accounts)
        assert [(one["id"], one["name"], one["displayName"], one["groupIds"]) for one in page["results"]] == [
            (key, each.name, each.display_name, sorted(each.groups)) for key, each in self.accounts.items()
        ]
        _, groups = self.ask("GET", f"api/Group/{ORG}")
        assert [(one["id"], one["name"], one["type"]) for one in groups] == [
            (key, each.name, "builtIn" if each.built_in else "custom") for key, each in self.groups.items()
        ]

    @invariant()
    def sorted_and_searched_lists_agree(self) -> None:
        _, page = self.ask("GET", f"api/RobotAccount/{ORG}?top=1000&sortBy=name&sortOrder=desc")
        assert [one["name"] for one in page["results"]] == sorted(
            (each.name for each in self.accounts.values()), key=str.casefold, reverse=True
        )
        _, page = self.ask("GET", f"api/RobotAccount/{ORG}?searchTerm=SS")
        assert {one["id"] for one in page["results"]} == {
            key for key, each in self.accounts.items() if "ss" in each.name.casefold()
        }

    @invariant()
    def members_agree(self) -> None:
        for key in self.groups:
            _, page = self.ask("GET", f"api/Group/{ORG}/{key}/Members?top=1000")
            assert [one["identifier"] for one in page["results"]] == [
                account_id for account_id, each in self.accounts.items() if key in {*each.groups, self.everyone}
            ]


TestDirectory = Directory.TestCase
TestDirectory.settings = settings(max_examples=examples(25, soak=400), stateful_step_count=40)
