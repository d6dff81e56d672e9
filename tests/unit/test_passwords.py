from __future__ import annotations

import os
import threading
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.security import generate_password_hash

from bgapp import passwords
from bgapp.accountmodels import AccountRefused
from bgapp.passwords import LONGEST, METHOD, SHORTEST
from tests.waiting import wait_for

GOOD = "violet harbour 73 lamps"


@pytest.fixture(scope="module")
def stored() -> str:
    return passwords.hashed(GOOD)


# Which are good enough -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    [
        GOOD, "x7#kQ9vLm2!p", "zutsamdrefo1", " leading and trailing ", "pass the salt, Maria", "naïve café séance",
        "密码学很有趣味呀", "🐢🚲🌵", "nul\0in the middle", "new\nline and\ttab", "Tr0ub4dor&3-zebra", "9473016258402",
        ("harbour-" + "abcdefgh1" * 200)[:LONGEST],
    ],
)  # fmt: skip
def test_what_is_hard_to_guess_is_accepted_as_typed(password: str) -> None:
    assert passwords.refused(password, "ann") is None


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("", "too short"), ("x7#kQ9v", "too short"), ("x7#kQ9vL", "too short"), ("x7#kQ9vLm2!", "too short"),
        ("x7" * 2000, "too long"), ("é" * 600, "too long"), ("a" * 1_000_000, "too long"),
        ("half a pair \ud800", "no text"),
    ],
)  # fmt: skip
def test_the_length_is_counted_in_bytes_and_has_two_ends(password: str, words: str) -> None:
    found = passwords.refused(password)
    assert found is not None
    assert words in found
    assert password not in found or not password


@pytest.mark.parametrize(
    "password",
    [
        "password1234", "PassWord1234!", "p@ssw0rd12345", "P4ssw0rd!2026", "passwordpassword", "pass word pass word",
        "letmeinplease", "iloveyousomuch", "correct horse battery staple", "dragon12345678",
        "123456789012", "1234567890123456", "098765432109", "qwertyuiop12", "QwertyUiopAsdf", "abcdefghijkl",
        "zyxwvutsrqpo", "aaaaaaaaaaaa", "            ", "abcabcabcabc", "1q2w3e4r5t6y", "changechange", "administrator",
        "princess2026",
        "ｐａｓｓｗｏｒｄ１２３４", "!!!!sunshine!!!!", "liverpool-1892", "ilovemichael", "foreverforeverfor",
    ],
)  # fmt: skip
def test_what_very_many_people_use_is_refused(password: str) -> None:
    found = passwords.refused(password)
    assert found is not None
    assert "too easy to guess" in found


@pytest.mark.parametrize("password", ["Annabel Lee 1849", "annabellee2026!", "ANNABELLEEannabellee", "4nn4b3ll33!!"])
def test_the_users_own_name_is_refused(password: str) -> None:
    found = passwords.refused(password, "Annabel Lee")
    assert found is not None
    assert "the user's name" in found
    assert passwords.refused(password, "Edgar") is None


def test_a_refusal_names_its_field() -> None:
    passwords.check(GOOD)
    with pytest.raises(AccountRefused) as caught:
        passwords.check("password")
    assert caught.value.field == "password"


def test_the_list_is_long_sorted_and_in_the_form_in_which_it_is_looked_up() -> None:
    lines = passwords.COMMON.read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 3000
    assert lines == sorted(set(lines))
    assert all(word == unicodedata.normalize("NFKC", word).casefold() and not set(word) & set(" \t") for word in lines)
    assert passwords.common() == frozenset(lines)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=1100))
def test_any_text_gets_an_answer(password: str) -> None:
    found = passwords.refused(password, password[:20])
    assert found is None or (found.startswith("the password") and len(found) < 150)
    if not SHORTEST <= len(password.encode(errors="surrogatepass")) <= LONGEST:
        assert found is not None


# Hashes --------------------------------------------------------------------------------------------------------------


def test_a_hash_is_slow_salted_and_of_todays_cost(stored: str) -> None:
    method, salt, digest = stored.split("$")
    assert method == METHOD == "scrypt:32768:8:3"
    assert len(salt) >= 16
    assert len(digest) == 128
    assert not passwords.needs_rehash(stored)
    assert passwords.needs_rehash(generate_password_hash("x", "scrypt:1024:8:1"))
    assert passwords.needs_rehash("x")


@pytest.mark.parametrize("password", [GOOD + " ", " " + GOOD, GOOD.upper(), "", "\ud800", "x" * 100_000])
def test_only_the_same_characters_match(stored: str, password: str) -> None:
    assert not passwords.matches(stored, password)


@pytest.mark.parametrize("password", [" two spaces  ", "nul\0and more", "🐢🚲🌵🎻", "x7" * (LONGEST // 2)])
def test_what_was_typed_matches_untrimmed(password: str) -> None:
    cheap = generate_password_hash(password, "scrypt:1024:8:1")
    assert passwords.matches(cheap, password)
    for other in (password[1:], password[:-1], password + " ", password.partition("\0")[0] + "x"):
        assert not passwords.matches(cheap, other)


@pytest.mark.parametrize("stored", [None, "", "x", "scrypt:", "scrypt:a:b:c$s$h", "plain$$secret", "md5$salt$hash"])
def test_nothing_matches_where_no_usable_hash_is_stored(stored: str | None) -> None:
    assert not passwords.matches(stored, "secret")


def test_at_most_two_hashes_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, lock, go_on = [0], [0], threading.Lock(), threading.Event()

    def slow(*_: object) -> bool:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        go_on.wait(30)
        with lock:
            inside[0] -= 1
        return False

    monkeypatch.setattr(passwords, "check_password_hash", slow)
    threads = [threading.Thread(target=passwords.matches, args=("scrypt:x", "x")) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: inside[0] == 2, "two hashes")
    go_on.set()
    for thread in threads:
        thread.join()
    assert most == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_does_not_wait_for_its_parents_hashes() -> None:
    for _ in range(passwords.HASHES_AT_ONCE):
        passwords._hashing.acquire()
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if passwords._hashing.acquire(timeout=20) else 1)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        for _ in range(passwords.HASHES_AT_ONCE):
            passwords._hashing.release()
