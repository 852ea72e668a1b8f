"""What error answers echo of a refused value."""

import json

import pytest

from api.errors import INPUT_SHOWN, shown


@pytest.mark.parametrize("value", [None, True, 5, 2.5, "x", "é" * INPUT_SHOWN, [1, "a"], {"a": None}])
def test_a_short_value_is_shown_as_it_came(value):
    assert shown(value) == value


@pytest.mark.parametrize(
    "value",
    ["x" * 999, ["x" * 999], float("inf"), [float("nan")], "\ud800", {"a": "\ud800"}, {1, 2}, {(1, 2): 3}, b"x", 1j],
)
def test_what_is_shown_is_short_and_can_be_sent(value):
    assert len(json.dumps(shown(value), ensure_ascii=False, allow_nan=False).encode()) < INPUT_SHOWN + 50


def test_an_integer_that_python_cannot_print_is_named():
    assert [shown(1 << 60_000), shown([1 << 60_000])] == ["<int>", "<list>"]


def test_only_the_beginning_of_a_large_value_is_written():
    class Counted(dict[str, str]):
        read = 0

        def items(self):
            for item in super().items():
                Counted.read += 1
                yield item

    assert len(shown(Counted({str(i): "x" for i in range(10_000)}))) == INPUT_SHOWN + 1
    assert Counted.read < INPUT_SHOWN


def test_an_infinity_in_a_form_is_refused_as_a_field(client):
    files = {"input_image": b"x"}
    for text in ("1e999", "[1e999]", "{1, 2}", "['\\ud800']", f"0x{'f' * 15_000}"):
        sent = {"uov_method": "Upscale (2x)", "loras": text}
        reply = client.post("/v1/generation/image-upscale-vary", data=sent, files=files)
        assert reply.status_code == 422
        assert all(fault["loc"][:2] == ["body", "loras"] for fault in reply.json()["detail"])


def test_an_endless_name_is_not_logged_whole(client, caplog):
    reply = client.post("/v1/generation/text-to-image", json={"base_model_name": "x" * 50_000})
    assert reply.headers["x-warning"].startswith("There is no checkpoint 'xxx")
    assert any("There is no checkpoint" in record.getMessage() for record in caplog.records)
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)
