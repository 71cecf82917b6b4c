"""Ctrl+C is recognised also where Python wraps it in another exception."""

import pytest

from bulkid.errors import interrupted


class _Interrupting:
    def __set_name__(self, owner: type, name: str) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_while_a_class_is_being_made_is_ctrl_c() -> None:
    with pytest.raises((KeyboardInterrupt, RuntimeError)) as caught:
        type("Made", (), {"field": _Interrupting()})
    assert interrupted(caught.value)


def test_any_other_error_is_not() -> None:
    assert not interrupted(RuntimeError("a fault of its own"))
    assert not interrupted(None)
