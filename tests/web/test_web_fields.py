"""The console shows the fields of the resource, also one that the package does not define."""

from dataclasses import replace

from bulkid.resources import DISPLAY_NAME, ROBOT_ACCOUNTS, Field, using
from tests.support.web_console import World

REMARK = Field("remark", "remark", "remark", ("remark",))


async def test_pages_have_a_column_for_each_field(console: World) -> None:
    with using(replace(ROBOT_ACCOUNTS, fields=(DISPLAY_NAME, REMARK))):
        home = await console.browser.get("/")
        path = await console.browser.preview("accounts.csv", b"name,remark\nrobot-0001,Pays bills\n")
        seen = await console.browser.preview_page(path)
    assert "<code>remark</code>: the new remark." in home.text
    assert '<th scope="col">Display name</th><th scope="col">Remark</th>' in seen.text
    assert "<ins>Pays bills</ins>" in seen.text
    assert seen.text.count("<ins>") == 1
