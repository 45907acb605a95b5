"""Rules of an alignment."""

import math
from dataclasses import replace
from typing import Any

import pytest

from hmm_align import AlignedInterval, Alignment

GOOD = Alignment(
    "clip",
    0.5,
    words=(AlignedInterval(0.0, 0.1, "", 1.0), AlignedInterval(0.1, 0.5, "at", 0.8)),
    phones=(
        AlignedInterval(0.0, 0.1, "", 1.0),
        AlignedInterval(0.1, 0.3, "AE1", 0.9),
        AlignedInterval(0.3, 0.5, "T", 0.7),
    ),
    log_likelihood_per_frame=-60.0,
)


def with_phone(number: int, **changes: Any) -> tuple[AlignedInterval, ...]:
    phones = list(GOOD.phones)
    phones[number] = phones[number]._replace(**changes)
    return tuple(phones)


@pytest.mark.parametrize(
    ("phones", "rule"),
    [
        ((), "must cover 0 to 0.5 s"),
        (with_phone(0, start=0.01), "must start where the one before ends, at 0.0 s; got 0.01 s"),
        (with_phone(1, start=0.11), "must start where the one before ends, at 0.1 s; got 0.11 s"),
        (with_phone(1, end=0.1005), "must last 0.001 s or more"),
        (with_phone(2, end=0.49), "must end at duration = 0.5 s; got 0.49 s"),
        (with_phone(2, confidence=1.01), "must have a confidence in 0..1; got 1.01"),
        (with_phone(2, confidence=math.nan), "must have a confidence in 0..1; got nan"),
        (with_phone(1, end_uncertainty=-0.001), "must have a finite end_uncertainty >= 0; got -0.001"),
        (with_phone(1, end_uncertainty=math.nan), "must have a finite end_uncertainty >= 0; got nan"),
        (with_phone(2, label="T H"), "printable characters without white space"),
        ((AlignedInterval(0.0, 0.5, "AE1", 1.0),), "'' of 'clip' ends at 0.1 s inside a phone"),
    ],
)
def test_a_broken_tier_is_refused_with_its_rule(phones: tuple[AlignedInterval, ...], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        replace(GOOD, phones=phones)


def test_reason_and_ok_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="reason must be empty if and only if ok"):
        replace(GOOD, reason="too short")
    with pytest.raises(ValueError, match="reason must be empty if and only if ok"):
        Alignment.failure("clip", "")


def test_a_failure_has_no_intervals_and_no_likelihood() -> None:
    failed = Alignment.failure("clip", "the transcript is empty", duration=2.0)
    assert (failed.ok, failed.words, failed.phones) == (False, (), ())
    assert failed.log_likelihood_per_frame == -math.inf
    with pytest.raises(ValueError, match="must be empty where ok is False"):
        replace(failed, phones=GOOD.phones)


def test_a_likelihood_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a number or -inf; got nan"):
        replace(GOOD, log_likelihood_per_frame=math.nan)
