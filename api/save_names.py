"""What `save_name` of both REST contracts may say: a name, or `../folder/name` for another folder than the day's."""

import re

NONE = frozenset({"", "none", "null"})
_ELSEWHERE = re.compile(r"\.\./(?P<folder>[^/]+)/(?P<name>[^/]+)")


def split(text: str) -> tuple[str, str]:
    """Folder below the results ("" for the day's) and name ("" for none). Raises ValueError for a way out of them.

    Any other separator becomes part of the name when the file is written.
    """
    text = text.strip().replace("\\", "/")
    if text.lower() in NONE:
        return "", ""
    if match := _ELSEWHERE.fullmatch(text):
        folder, name = match["folder"], match["name"]
    else:
        folder, name = "", text
    if text.startswith("/") or ".." in name.split("/") or folder.strip(". ") == "" != folder:
        raise ValueError("It leads out of the results; write a name, or ../folder/name.")
    return folder, name


def checked(text: str) -> str:
    """The text itself. Raises ValueError as `split`."""
    split(text)
    return text
