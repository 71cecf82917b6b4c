"""Robot accounts: the kind of account that bulkid updates."""

from typing import Final

from bulkid.resources.field import Field
from bulkid.resources.resource import Resource

DISPLAY_NAME: Final = Field(
    key="display_name",
    property="displayName",
    label="display name",
    aliases=("display name", "friendly name"),
    changed_words=("rename", "renames"),
    removed_words=("name removed", "names removed"),
)

ROBOT_ACCOUNTS: Final = Resource(
    singular="robot account",
    plural="robot accounts",
    endpoint="api/RobotAccount",
    scope="PM.RobotAccount",
    id_column="robot_account_id",
    id_aliases=("id", "robot account id", "account id", "robot id"),
    name_aliases=("name", "robot", "robot account", "account", "user name"),
    fields=(DISPLAY_NAME,),
)
