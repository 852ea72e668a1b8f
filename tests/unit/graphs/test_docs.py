"""The reference pages say what the code says.

`python tests/unit/graphs/test_docs.py` writes docs/reference/styles.md anew.
"""

import re
from pathlib import Path

import msgspec

from graphs.known_files import KNOWN_FILES
from graphs.presets import KEYS, load_presets
from graphs.styles import FAMILIES, SHIPPED, Style, StyleBook
from graphs.wildcards import Wildcards

DOCS = Path(__file__).parents[3] / "docs"
STYLES_PAGE = DOCS / "reference" / "styles.md"
HEAD = """# Styles

279 names can be selected: the two special ones and 277 styles, under the names that Fooocus's users know. The texts
are Focal's own. `GET /v1/engines/styles` lists the names. They are found in any case, with `-` or `_` for spaces; an
unknown one is left out with a warning. [What happens to a prompt](../explanation/prompts.md) tells what a style does.

* `Fooocus V2` asks for [prompt expansion](../flows/expansion.md) by a language model. None for real checkpoints is
  shipped, for legal reasons: without one the style changes nothing and gives a warning.
* `Random Style` is another style for every image, drawn with the image's seed.

## Your own

Put Fooocus style files, unchanged, into `DATA/styles/*.json`: a list of objects with `name`, `prompt` (`{prompt}` marks
the place of the user's words; each line is a chunk of its own) and `negative_prompt`. A file named like a shipped
family, such as `sdxl_styles_sai.json`, takes that family's place. Otherwise a shipped style wins over yours of the same
name, as in Fooocus. Files that come, change or go count from the next request on.
"""


def styles_page() -> str:
    """The page, from the data files."""
    parts = [HEAD]
    for family in FAMILIES:
        styles = msgspec.json.decode((SHIPPED / family).read_bytes(), type=list[Style])
        parts.append(f"\n## `{family}` ({len(styles)})\n\n| style | text | negative |\n|---|---|---|\n")
        parts += [f"| {style.name} | {style.prompt} | {style.negative_prompt} |\n" for style in styles]
    return "".join(parts)


def test_the_styles_page_is_the_one_made_from_the_data():
    assert STYLES_PAGE.read_text(encoding="utf-8") == styles_page()
    assert f"{len(StyleBook.load().names)} names" in HEAD


def test_every_preset_and_every_key_is_on_the_presets_page():
    page = (DOCS / "reference" / "presets.md").read_text(encoding="utf-8")
    assert [name for name in (*load_presets(), *KEYS) if f"`{name}`" not in page] == []


def test_every_shipped_wildcard_is_on_the_prompts_page():
    page = (DOCS / "explanation" / "prompts.md").read_text(encoding="utf-8")
    assert [name for name in Wildcards().names if f"`{name}`" not in page] == []


def test_every_file_that_a_flow_looks_for_stands_on_its_page():
    page = (DOCS / "how-to" / "get-model-files.md").read_text(encoding="utf-8")
    assert [file.name for file in KNOWN_FILES.values() if f"`{file.name}`" not in page] == []


def test_every_flow_shows_a_picture_that_is_there():
    pages = [page for page in sorted((DOCS / "flows").glob("*.md")) if page.stem != "metadata"]
    shown = {
        page.stem: re.findall(r"!\[.+?\]\(\.\./images/(.+?)\)", page.read_text(encoding="utf-8")) for page in pages
    }
    assert [name for name, files in shown.items() if not files] == []
    assert all((DOCS / "images" / file).is_file() for files in shown.values() for file in files)


if __name__ == "__main__":
    STYLES_PAGE.write_text(styles_page(), encoding="utf-8")
