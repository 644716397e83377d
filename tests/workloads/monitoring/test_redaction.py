"""Nothing that a recogniser finds survives redaction, wherever it stands; and what is redacted stays as it is."""

from __future__ import annotations

import string
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workloads.monitoring.redaction import found, luhn, redact

LETTERS = string.ascii_letters + string.digits
digits = st.text("0123456789", min_size=1)
word = st.text(string.ascii_lowercase, min_size=1, max_size=12)


def with_check_digit(number: str) -> str:
    return next(number + digit for digit in string.digits if luhn(number + digit))


cards = st.builds(
    lambda number, gap: gap.join(number[i : i + 4] for i in range(0, 16, 4)),
    st.text("0123456789", min_size=15, max_size=15).map(with_check_digit),
    st.sampled_from(["", " ", "-"]),
)
emails = st.builds(
    lambda name, dot, host, top: f"{name}{dot}{name}@{host}.{top}",
    word,
    st.sampled_from([".", "+", "_", "-"]),
    word,
    st.sampled_from(["com", "org", "co.uk", "de"]),
)
phones = st.builds(
    lambda form, d: form.format(*d),
    st.sampled_from(
        ["+49 {}{} {}{}{}{}{}{}{}", "({}{}{}) {}{}{}-{}{}{}{}", "{}{}{}-{}{}{}-{}{}{}{}", "+1{}{}{}{}{}{}{}{}{}{}"]
    ),
    st.lists(st.integers(0, 9), min_size=10, max_size=10),
)
addresses = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
keys = st.one_of(
    st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16).map(lambda t: f"AKIA{t}"),
    st.text(LETTERS, min_size=36, max_size=36).map(lambda t: f"ghp_{t}"),
    st.text(LETTERS, min_size=30, max_size=40).map(lambda t: f"sk-{t}"),
    st.text("0123456789abcdef", min_size=40, max_size=40).map(lambda t: f"{t[:-2]}a1"),
)
secrets = st.text(LETTERS + "!#$%&*+-./?^_~", min_size=4, max_size=20)
planted = st.one_of(cards, emails, phones, addresses, keys)
# What stands around it is divided from it as words are.
around = st.lists(
    st.one_of(word, digits.filter(lambda d: len(d) < 5), st.sampled_from(["(see", "->", "x,"])), max_size=5
)


@given(before=around, secret=planted, after=around)
def test_what_is_planted_does_not_survive(before: list[str], secret: str, after: list[str]) -> None:
    text = " ".join([*before, secret, *after])
    assert secret not in redact(text)


@given(
    name=st.sampled_from(["password", "api_key", "API-Key", "token", "client_secret", '"passwd"']),
    gap=st.sampled_from(["=", ": ", " = "]),
    secret=secrets,
    quote=st.sampled_from(["", '"', "'"]),
)
def test_what_is_called_a_secret_does_not_survive(name: str, gap: str, secret: str, quote: str) -> None:
    cleaned = redact(f"set {name}{gap}{quote}{secret}{quote} now")
    assert cleaned.startswith(f"set {name}{gap}[")
    assert secret not in cleaned.removeprefix(f"set {name}{gap}")


@given(st.lists(st.one_of(planted, word, digits, st.text(max_size=8), st.sampled_from(["[email]", "password=", "@"]))))
@example(["password=", "[secret]", "x"])
@example(["password=", "[secret]hunter2"])
@example(["token: ", "[card]", "@b.com"])
def test_nothing_is_found_in_what_was_redacted_and_redacting_it_changes_nothing(parts: list[str]) -> None:
    for gap in ("", " "):
        once = redact(gap.join(parts))
        assert not list(found(once))
        assert redact(once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail a.b+c@x.example.org now", "mail [email] now"),
        ("card 4111 1111 1111 1111, not 4111 1111 1111 1112", "card [card], not 4111 1111 1111 1112"),
        # The groups beside a card must not hide it.
        ("4111 1111 1111 1111 12 2026", "[card]"),
        ("https://ann:hunter2@host/path", "https://[secret]host/path"),
        ("Authorization: Bearer abcdefghijklmnop.qrst", "Authorization: [secret]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- after", "[key] after"),
        ("DE89 3704 0044 0532 0130 00 is Anna's", "[iban] is Anna's"),
        ("fe80::1 and 10.0.0.1", "[address] and [address]"),
    ],
)
def test_each_kind(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "def f(x): return x[1:2] + 12345",
        "at 12:30:45 on 2026-11-29, version 1.2.3.4.5, 99.9.999.9",
        "this_is_a_long_name_of_a_function_in_some_program()",
        "std::vector<int> and 4111 1111 1111 1112",
        "a @ b, @decorator, x@y",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redact(text) == text


def test_it_counts_by_kind() -> None:
    counts: Counter[str] = Counter()
    redact("a@b.org, c@d.org and +49 30 123456", counts)
    assert counts == {"email": 2, "phone": 1}


def test_a_long_word_takes_no_quadratic_time() -> None:
    """A megabyte without a space; a search from each of its characters would take hours."""
    assert len(redact("x" * 2**20)) == 2**20
