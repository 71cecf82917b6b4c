"""What a run or a preview does at present, in the words for users."""

from dataclasses import dataclass

from bulkid.runs import STAGES, Hooks


@dataclass(eq=False, kw_only=True)
class ActivityHooks(Hooks):
    """Hooks that keep the stage of a run, and what it waits for."""

    stage_text: str = STAGES["sheet"]
    wait_text: str = ""  # what it waits for; "": it does not wait

    @property
    def activity(self) -> str:
        """What it waits for, or else its stage; without a full stop."""
        return self.wait_text or self.stage_text

    def stage(self, name: str) -> None:
        """Set the stage, which ends a wait."""
        self.stage_text, self.wait_text = STAGES[name], ""

    def waiting(self, text: str) -> None:
        """Show what is waited for in place of the stage."""
        self.wait_text = text.removesuffix(".")

    def wait_ended(self) -> None:
        """Show the stage again."""
        self.wait_text = ""
