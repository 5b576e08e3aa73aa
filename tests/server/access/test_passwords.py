import asyncio

import pytest

from driftprint_server.access.allowance import MOST_KEYS, Allowance
from driftprint_server.access.passwords import MOST_WAITING, BusyError, Passwords, new_password
from tests.server.clocks import FakeClock


def test_a_hash_is_argon2id_with_owasps_parameters_and_salted() -> None:
    passwords = Passwords()
    first, second = passwords.hash("the same"), passwords.hash("the same")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert passwords.matches(first, "the same")
    assert passwords.matches(second, "the same")
    assert not passwords.matches(first, "another")


@pytest.mark.parametrize("hashed", [None, "", "no hash at all"])
def test_nobodys_password_never_matches(hashed: str | None) -> None:
    assert not Passwords().matches(hashed, "")


def test_further_checks_are_turned_away_while_too_many_wait() -> None:
    async def storm() -> list[bool | BaseException]:
        passwords = Passwords()
        checks = [passwords.matches_soon(None, "guess") for _ in range(MOST_WAITING + 3)]
        return await asyncio.gather(*checks, return_exceptions=True)

    results = asyncio.run(storm())
    assert results[:MOST_WAITING] == [False] * MOST_WAITING
    assert [type(result) for result in results[MOST_WAITING:]] == [BusyError] * 3


def test_random_passwords_are_long_and_differ() -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert {len(password) for password in made} == {20}
    assert all(password.isalnum() for password in made)


def test_an_allowance_is_spent_and_comes_back_one_by_one() -> None:
    clock = FakeClock()
    allowance = Allowance(2, seconds=10, clock=clock)
    assert [allowance.take("ann"), allowance.take("ann"), allowance.take("ann")] == [0, 0, 10]
    assert allowance.take("vera") == 0
    clock.wall += 4
    assert allowance.take("ann") == pytest.approx(6)
    clock.wall += 6
    assert allowance.take("ann") == 0
    assert allowance.take("ann") == pytest.approx(10)
    clock.wall += 1000
    assert [allowance.take("ann"), allowance.take("ann"), allowance.take("ann")] == [0, 0, 10]


def test_what_is_given_back_can_be_taken_again_and_no_more_than_that() -> None:
    allowance = Allowance(1, seconds=10, clock=FakeClock())
    allowance.take("ann")
    allowance.give_back("ann")
    allowance.give_back("ann")
    assert [allowance.take("ann"), allowance.take("ann")] == [0, 10]


def test_an_allowance_remembers_so_many_keys_at_most_and_forgets_the_oldest() -> None:
    allowance = Allowance(1, seconds=1e9, clock=FakeClock())
    for number in range(MOST_KEYS + 1):
        assert allowance.take(str(number)) == 0
    assert allowance.take(str(MOST_KEYS)) > 0
    assert allowance.take("1") > 0
    assert allowance.take("0") == 0
