"""The error table says what the platform's list says."""

from __future__ import annotations

import pytest

from shared.wecom.errcodes import ENTRIES, RetryClass, classify

# Codes by class, as the reference lists them; ranges are one code per field of a card.
LISTED = {
    RetryClass.NONE: {0},
    RetryClass.REFRESH: {40014, 41001, 42001},
    RetryClass.RETRY: {-1, 6000, 81026, 830003, 41063, 41094, 41096},
    RetryClass.REST: {45009, 45033},
    RetryClass.PERM_CONFIG: {
        *(40001, 40013, 40056, 40091, 41002, 41004, 41011, 42009, 43009, 43012, 45031),
        *(48001, 48002, 48004, 48005, 48006, 50001, 50003, 60020, 60031, 301002),
        *(90206, 93000, 93004, 86008, 86101, 41055, 41058, 84074, 92000, 92002, 92003, 701008),
        *(48007, 95003, 95005, 95011, 95012, 95015, 95017, 95023, 95026, 95027, 95032),
    },
    RetryClass.PERM_INPUT: {
        *(40004, 40005, 40006, 40007, 40008, 40009, 40011, 40031, 40032, 40033, 40035, 40039, 40058),
        *(40063, 40074, 40094, 45034, 40123, 40201, 40204, 40206, 41006, 41016, 41033, 44001, 44004),
        *(45001, 45002, 45007, 45008, 45029, 45032, 50100, 81012, 81017, 82001, 82002, 82003, 82004),
        *(301015, 301016, 301017, 301019, 830001, 830002),
        *range(42014, 42021),
        *range(42027, 42052),
        *range(90200, 90205),
        *(90207, 90208, 86224),
        *(41035, 41046, 41047, 41049, 41052, 41056, 41064, 41065, 41088, 41091, 90500),
        *(60251, 60252, 60253, 95000, 95004, 95006, 95007, 95008, 95009, 95022, 95030),
    },
    RetryClass.PERM_TARGET: {
        *(40003, 40050, 40066, 60123, 40068, 40096, 46004, 50002, 60011, 60021, 60111, 81013, 42052),
        *(93006, 93008, 86001, 86003, 49008, 41048, 84061, 84083, 84084, 90501, 90509, 90502, 90511),
        *(610004, 95014),
    },
    RetryClass.STATE: {
        *(41050, 41051, 41053, 41093, 90507, 90508),
        *(95001, 95002, 95013, 95016, 95018, 95019, 95031),
    },
}


@pytest.mark.parametrize("retry_class", list(RetryClass))
def test_every_listed_code_has_the_class_of_the_reference_and_no_other_code_is_listed(
    retry_class: RetryClass,
) -> None:
    assert {code for code, entry in ENTRIES.items() if entry.retry_class is retry_class} == LISTED[
        retry_class
    ]


@pytest.mark.parametrize("code", [40125, 1, -2, 2**31, 10**9])
def test_any_other_code_is_permanent_and_says_so(code: int) -> None:
    entry = classify(code)
    assert (entry.code, entry.meaning, entry.retryable) == (code, "unlisted", False)


def test_every_code_one_waits_for_says_how_long() -> None:
    for entry in ENTRIES.values():
        waits = entry.retry_class in (RetryClass.RETRY, RetryClass.REST)
        assert (entry.retry_after is not None) == waits, entry.code


def test_advice_comes_in_both_languages() -> None:
    for entry in ENTRIES.values():
        assert bool(entry.advice) == bool(entry.advice_zh), entry.code
        assert entry.meaning


def test_a_rested_key_rests_a_minute_at_least() -> None:
    for code in (45009, 45033):
        wait = classify(code).retry_after
        assert wait is not None
        assert wait.total_seconds() >= 60
