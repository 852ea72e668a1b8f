"""The reference pages say what the code says."""

import re
from pathlib import Path

import pytest

from api.contracts.comfy.routes import TABLE
from api.contracts.fooocus_api.image_schemas import Inpaint, UpscaleVary
from api.contracts.fooocus_api.schemas import AdvancedParams, Lora, TextToImage
from api.effects import ABOUT, PAINTING, VARYING
from api.errors import STATUS
from api.reference import cli_page, settings_page
from api.reference_rest import rest_page
from graphs.uov import METHODS

DOCS = Path(__file__).parents[2] / "docs" / "reference"
PAGES = [("settings.md", settings_page), ("cli.md", cli_page), ("rest-api.md", rest_page)]


@pytest.mark.parametrize(("name", "page"), PAGES)
def test_a_generated_page_is_up_to_date(name, page):
    assert (DOCS / name).read_text(encoding="utf-8") == page(), "run: python -m api.reference docs/reference"


def test_every_field_of_the_rest_contract_is_documented():
    text = (DOCS / "rest-text-to-image.md").read_text(encoding="utf-8")
    fields = [field for struct in (TextToImage, AdvancedParams, Lora) for field in struct.__struct_fields__]
    assert [field for field in fields if f"`{field}`" not in text] == []


def test_every_field_of_the_image_routes_is_documented():
    text = (DOCS / "rest-image-input.md").read_text(encoding="utf-8")
    own = {field for struct in (UpscaleVary, Inpaint) for field in struct.__struct_fields__}
    wanted = own - set(TextToImage.__struct_fields__) | {
        name for name, what in ABOUT.items() if what in (VARYING, PAINTING)
    }
    assert [name for name in (*sorted(wanted), *METHODS) if f"`{name}`" not in text] == []


def test_every_route_and_error_is_documented(client):
    pages = ("rest-text-to-image.md", "rest-image-input.md", "rest-api.md", "graph-api.md")
    text = "".join((DOCS / name).read_text(encoding="utf-8") for name in pages)
    text = re.sub(r"\{\w+\}/\{\w+\}", "{path:path}", text)  # a result's day and name are one parameter here
    paths = {getattr(route, "path", "").rstrip("/") for route in client.app.routes}
    wanted = {path for path in paths if path and not path.startswith(("/api/", "/redoc"))}
    assert sorted(path for path in wanted if not any(f"{path}{end}" in text for end in ("`", "/`", " "))) == []
    assert {path for _, path, _ in TABLE} <= wanted
    assert [code for code in STATUS if f"`{code}`" not in text] == []
