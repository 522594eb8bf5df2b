import pytest

from registry.serving.allow import AddressRefused, check_address

PRIVATE = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9001", "http://127.0.0.1:9001/", "https://10.1.2.3", "http://[::1]:80", "http://localhost"],
)
def test_addresses_inside_the_allowed_networks_pass(url: str) -> None:
    check_address(url, PRIVATE)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://192.0.2.1:80", "192.0.2.1, which is in none of the allowed networks"),
        ("http://169.254.169.254", "none of the allowed networks"),
        ("http://[::ffff:192.0.2.1]", "none of the allowed networks"),
        ("http://3221225985", "none of the allowed networks"),
        ("ftp://127.0.0.1", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("http://user:word@127.0.0.1", "must not hold a user"),
        ("http://127.0.0.1/path", "must end after the port"),
        ("http://127.0.0.1?x=1", "must end after the port"),
        ("http://127.0.0.1:99999", "is not a URL"),
        ("http://", "name a machine"),
        ("http://no-such-name.invalid", "does not resolve"),
    ],
)
def test_other_addresses_are_refused_with_the_reason(url: str, sentence: str) -> None:
    with pytest.raises(AddressRefused, match=sentence):
        check_address(url, PRIVATE)


def test_a_mapped_address_counts_as_the_one_it_maps_to() -> None:
    check_address("http://[::ffff:127.0.0.1]", ["127.0.0.0/8"])
