"""Which hosts a request may name."""

import asyncio

import pytest

from api.addresses import may_call
from api.settings import Settings
from tests.api.test_text_to_image import URL

PUBLIC = Settings(host="0.0.0.0", allow_hosts="10.0.0.9, hook.internal")


def allowed(url: str, settings: Settings = PUBLIC) -> bool:
    return asyncio.run(may_call(url, settings))


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "localhost", "[::1]", "[::]"),
        *("[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "[fe80::1]", "[fc00::1]", "224.0.0.1", "user@127.0.0.1", "public.example@10.0.0.1"),
        *("no-such-host.invalid", "", "a" * 300, "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]"),
    ],
)
def test_an_address_that_is_not_public_is_refused(host):
    assert not allowed(f"http://{host}/x")
    assert not allowed(f"http://{host}/x", Settings(host="0.0.0.0"))


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/x",
        "https://[2606:2800:220:1::1]:8443/x",
        "http://10.0.0.9/x",
        "http://[64:ff9b::93.184.216.34]/x",
    ],
)
def test_public_and_named_addresses_are_allowed(url):
    assert allowed(url)


def test_a_server_on_loopback_trusts_its_callers():
    assert allowed("http://127.0.0.1:9/x", Settings())


def test_a_private_webhook_is_refused_with_its_field(make_client):
    client = make_client(host="0.0.0.0")
    reply = client.post(URL, json={"prompt": "a", "webhook_url": "http://169.254.169.254/latest"})
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["body", "webhook_url"]
    assert client.post(URL, json={"prompt": "a", "webhook_url": "string"}).status_code == 200
