"""Which addresses an endpoint may have."""

import asyncio
import time

import pytest

from pdsapp.errors import AddressRefused, BadInput
from pdsapp.llm.endpoint import Endpoint, normalize_base_url
from pdsapp.llm.guard import EndpointGuard, NameUnknown, is_public, literal_address

NAMES = {
    "api.example.org": ["93.184.216.34"],
    "both.example.org": ["93.184.216.34", "2606:2800:220:1::1"],
    "nat64.example.org": ["64:ff9b::5db8:d822"],
    "gpu.lab": ["10.1.2.3"],
    "localhost": ["::1", "127.0.0.1"],
    "mixed.example.org": ["93.184.216.34", "10.1.2.3"],
    "metadata.example.org": ["169.254.169.254"],
    "nonsense.example.org": ["not an address"],
    "silent.example.org": [],
}


def resolver(host, port):
    if host not in NAMES:
        raise OSError("Name or service not known")
    return NAMES[host]


def guard(*allowed):
    return EndpointGuard(allowed, resolver)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("https://api.example.org/v1", ("93.184.216.34",)),
        ("https://both.example.org/v1", ("93.184.216.34", "2606:2800:220:1::1")),
        ("https://nat64.example.org/v1", ("64:ff9b::5db8:d822",)),
        ("https://93.184.216.34:8443/v1", ("93.184.216.34",)),
        ("https://[2606:2800:220:1::1]/v1", ("2606:2800:220:1::1",)),
    ],
)
def test_public_https_is_allowed(url, addresses):
    checked = guard().check(url)
    assert checked.addresses == addresses
    assert not checked.is_listed


NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "loopback as an integer": "2130706433",
    "loopback in hexadecimal": "0x7f000001",
    "loopback half in hexadecimal": "0x7f.1",
    "loopback in octal": "0177.0.0.1",
    "loopback, short": "127.1",
    "loopback with a dot behind": "127.0.0.1.",
    "another loopback": "127.255.255.254",
    "IPv6 loopback": "[::1]",
    "IPv4-mapped loopback": "[::ffff:127.0.0.1]",
    "IPv4-mapped in hexadecimal": "[::ffff:7f00:1]",
    "IPv4-compatible loopback": "[::127.0.0.1]",
    "NAT64 loopback": "[64:ff9b::7f00:1]",
    "NAT64 private": "[64:ff9b::10.1.2.3]",
    "NAT64 metadata": "[64:ff9b::169.254.169.254]",
    "local NAT64": "[64:ff9b:1::5db8:d822]",
    "6to4 around a private address": "[2002:0a01:0203::1]",
    "Teredo": "[2001:0:53aa:64c::1]",
    "unspecified": "0.0.0.0",
    "zero": "0",
    "IPv6 unspecified": "[::]",
    "this network": "0.1.2.3",
    "private 10": "10.1.2.3",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "shared (CGNAT)": "100.64.0.1",
    "link-local": "169.254.1.1",
    "metadata": "169.254.169.254",
    "metadata as an integer": "2852039166",
    "Azure's wire server": "168.63.129.16",
    "Alibaba's metadata": "100.100.100.200",
    "Amazon's IPv6 metadata": "[fd00:ec2::254]",
    "unique local": "[fc00::1]",
    "IPv6 link-local": "[fe80::1]",
    "IPv6 site-local": "[fec0::1]",
    "multicast": "224.0.0.1",
    "IPv6 multicast": "[ff02::1]",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "documentation": "192.0.2.1",
    "benchmark": "198.18.0.1",
    "discard": "[100::1]",
    "a name inside": "gpu.lab",
    "localhost": "localhost",
    "one bad answer among good ones": "mixed.example.org",
    "a name for the metadata": "metadata.example.org",
    "an answer that is no address": "nonsense.example.org",
    "five numbers": "1.2.3.4.5",
    "a number too large": "99999999999",
}


@pytest.mark.parametrize("host", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_what_is_not_public_is_refused(scheme, host):
    with pytest.raises(AddressRefused):
        guard().check(f"{scheme}://{host}/v1")


def test_plain_http_is_refused_and_says_why():
    with pytest.raises(AddressRefused, match=r"plain http.*Use https"):
        guard().check("http://api.example.org/v1")


def test_a_refusal_names_the_setting():
    with pytest.raises(AddressRefused, match="PDS_LLM_ALLOWED_HOSTS"):
        guard().check("https://gpu.lab/v1")


@pytest.mark.parametrize(
    "url", ["ftp://api.example.org", "file:///etc/passwd", "https:///v1", "https://[::1", "x"]
)
def test_anything_but_http_is_refused(url):
    with pytest.raises(AddressRefused):
        guard().check(url)


LISTED = {
    "a host by name": (["gpu.lab"], "http://gpu.lab:8000/v1"),
    "in any case, with a dot": (["GPU.lab."], "http://gpu.lab/v1"),
    "a host by its network": (["10.0.0.0/8"], "http://gpu.lab/v1"),
    "a host by its address": (["10.1.2.3"], "https://gpu.lab/v1"),
    "subdomains": (["*.lab"], "http://gpu.lab/v1"),
    "the loopback, both kinds": (["127.0.0.0/8", "::1"], "http://localhost:11434/v1"),
    "the loopback by name": (["localhost"], "http://localhost:11434/v1"),
    "a mapped address by its network": (["127.0.0.0/8"], "http://[::ffff:127.0.0.1]/v1"),
    "an odd spelling of a listed address": (["127.0.0.0/8"], "http://127.1/v1"),
    "public, but over http": (["api.example.org"], "http://api.example.org/v1"),
    "the metadata, by address only": (["169.254.169.254"], "http://metadata.example.org/"),
    "a network written carelessly": (["10.1.2.3/8"], "http://gpu.lab/v1"),
}


@pytest.mark.parametrize(("allowed", "url"), LISTED.values(), ids=LISTED)
def test_what_is_on_the_list_is_allowed(allowed, url):
    assert guard(*allowed).check(url).is_listed


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        (["metadata.example.org"], "http://metadata.example.org/"),
        (["127.0.0.0/8"], "http://localhost/v1"),
        (["10.0.0.0/8"], "http://mixed.example.org/v1"),
        (["*.lab"], "http://lab/v1"),
        (["lab"], "https://gpu.lab/v1"),
        (["", "  "], "https://gpu.lab/v1"),
    ],
    ids=["metadata by name", "one of two kinds", "one answer of two", "the parent", "a suffix", "empty"],
)
def test_the_list_allows_no_more_than_it_says(allowed, url):
    with pytest.raises((AddressRefused, NameUnknown)):
        guard(*allowed).check(url)


@pytest.mark.parametrize("host", ["unknown.example.org", "silent.example.org"])
def test_a_name_without_an_address_is_unknown_and_not_refused(host):
    with pytest.raises(NameUnknown):
        guard().check(f"https://{host}/v1")


def test_the_asynchronous_check_says_the_same():
    assert asyncio.run(guard().check_async("https://api.example.org/v1")) == guard().check(
        "https://api.example.org/v1"
    )
    with pytest.raises(AddressRefused):
        asyncio.run(guard().check_async("https://gpu.lab/v1"))
    with pytest.raises(NameUnknown):
        asyncio.run(guard().check_async("https://unknown.example.org/v1"))


def test_a_slow_name_server_does_not_hold_up_the_event_loop():
    def slow(host, port):
        time.sleep(0.3)
        return ["93.184.216.34"]

    async def count_while_resolving():
        task = asyncio.create_task(EndpointGuard((), slow).check_async("https://slow.example.org"))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(count_while_resolving()) > 10


def test_a_name_server_that_hangs_does_not_hold_up_the_end_of_the_loop():
    def hanging(host, port):
        time.sleep(3)
        return []

    async def give_up():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await EndpointGuard((), hanging).check_async("https://slow.example.org")

    began = time.monotonic()
    asyncio.run(give_up())
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("text", "public"),
    [
        *(("8.8.8.8", True), ("2606:4700::1111", True), ("64:ff9b::808:808", True), ("::ffff:8.8.8.8", True)),
        *(("10.0.0.1", False), ("64:ff9b::a00:1", False), ("::ffff:10.0.0.1", False)),
    ],
)
def test_an_address_is_judged_by_what_is_inside(text, public):
    assert is_public(literal_address(text)) is public


@pytest.mark.parametrize(
    "name", ["api.example.org", "gpu", "1e100.net", "0x.example", "a.b.c.d.e", "xn--bcher-kva.de"]
)
def test_a_name_is_no_address(name):
    assert literal_address(name) is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        (" https://api.openai.com/v1/ ", "https://api.openai.com/v1"),
        ("https://API.OpenAI.com/v1//", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/Chat/Completions/", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/models", "https://api.openai.com/v1"),
        ("HTTP://localhost:11434", "http://localhost:11434"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://x.openai.azure.com/openai/v1", "https://x.openai.azure.com/openai/v1"),
    ],
)
def test_a_base_url_has_one_spelling(text, url):
    assert normalize_base_url(text) == url
    assert normalize_base_url(url) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("api.openai.com/v1", "did you mean https://api.openai.com/v1"),
        ("ftp://example.org", "https://"),
        ("https://", "host"),
        ("https://:443/v1", "host"),
        ("https://example.org:/v1", "host"),
        ("https://example.org:0/v1", "host"),
        ("https://example.org:99999/v1", "port"),
        ("https://user:pw@example.org/v1", "user name"),
        ("https://example.org/v1?key=1", "query"),
        ("https://example.org/v1?", "query"),
        ("https://example.org/v1#x", "fragment"),
        ("https://exa mple.org", "spaces"),
        ("https://example.org\\@evil.org", "backslash"),
        ("https://ехаmple.org/v1", "ASCII"),
        ("https://example.org/\x00", "ASCII"),
        ("https://[::1/v1", "read"),
        ("https://[fe80::1%25eth0]/v1", "%"),
        ("https://example.org/" + "a" * 500, "500"),
    ],
)
def test_a_base_url_that_cannot_be_used_says_why(text, words):
    with pytest.raises(BadInput) as caught:
        normalize_base_url(text)
    assert words in str(caught.value)


def test_an_endpoint_never_shows_its_key():
    endpoint = Endpoint("https://api.example.org/v1", "m", "sk-very-secret")
    assert "sk-very-secret" not in repr(endpoint)
