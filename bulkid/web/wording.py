"""Messages of commands in the words of the console, which has fields and buttons in place of options."""

import re
from typing import Final

_REPLACED: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        (r"--sheet chooses another", "you can choose another one"),
        (r"give one to --sheet", "choose one"),
        (r"as --encoding says", "as you chose"),
        (r"--encoding says", "you chose"),
        (r"leave out --encoding", "choose the detected encoding"),
        (r"such as --encoding (\w+)", r"such as \1"),
        (r"the right --delimiter or --encoding", "the right delimiter or encoding"),
        (r"the right --(delimiter|encoding)", r"the right \1"),
        (r"give --encoding (\w+)", r"choose the encoding \1"),
        (r"give --encoding", "choose the encoding"),
        (r", as --via asks", ""),
        (r" because of --no-read", ": bulkid does not read the accounts"),
    )
)
ALLOW_DELETIONS: Final = (
    'Ask the user who starts this console to start it with "--allow-delete" or BULKID_ALLOW_DELETE=1.'
)
"""What a user can do where the console does not allow deletions."""

_SENTENCES: Final = {
    "--allow-delete allows them.": ALLOW_DELETIONS,
    "Add --allow-delete to delete it.": ALLOW_DELETIONS,
    "--recreate makes an account of the same name, display name and groups again, with a new id.": (
        "The page of the run offers to create an account of the same name, display name and groups, with a new id."
    ),
}
"""Sentences about options of a terminal, each with what the user of the console can do instead."""

_COMMAND_LINE: Final = re.compile(
    r"(?<![\w-])--[a-z]|`?\bbulkid (?:run|plan|check|resume|undo|runs|report|export|doctor)\b"
)
_QUOTED: Final = re.compile(r'"[^"]*"')
_MARK: Final = "\0"  # stands for a quoted text, which is a value and no option
_PART_END: Final = re.compile(r"(?<=[.;!?])(?<!e\.g\.)\s+")


def console_words(text: str) -> str:
    """A message without options and commands of a terminal: in words for the page, or without that sentence.

    What is quoted is a value from a sheet or a server, and stays as it is.
    """
    text = text.replace(_MARK, "")
    values = iter(_QUOTED.findall(text))
    text = _QUOTED.sub(_MARK, text)
    begins_large = text[:1].isupper()
    for pattern, words in _REPLACED:
        text = pattern.sub(words, text)
    kept = []
    for part in _PART_END.split(text.strip()):
        if part in _SENTENCES:
            kept.append(_SENTENCES[part])
            continue
        whole = re.sub(_MARK, lambda _: next(values), part)
        if not _COMMAND_LINE.search(part):
            kept.append(whole)
    sentence = " ".join(kept)
    if sentence.endswith(";"):
        sentence = f"{sentence[:-1]}."
    return sentence[:1].upper() + sentence[1:] if begins_large else sentence
