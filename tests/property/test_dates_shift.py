"""Dates of one patient move together."""

from __future__ import annotations

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.archive.deidentify.key import Key
from tapetum.archive.deidentify.pseudonyms import Pseudonyms

DAYS = st.dates(date(1911, 1, 1), date(2100, 1, 1))
KEYS = st.binary(min_size=32, max_size=64)
PATIENTS = st.text(min_size=1, max_size=12).filter(lambda t: bool(t.strip()))


@settings(max_examples=150, deadline=None)
@given(KEYS, PATIENTS, DAYS, DAYS)
def test_intervals_stay_and_no_day_does(secret, patient, first, second):
    names = Pseudonyms(Key(secret))
    days = names.shift_days(patient)
    assert -3650 <= days < 0
    moved = [date.fromisoformat(names.date(d.isoformat(), patient)) for d in (first, second)]
    assert moved[1] - moved[0] == second - first
    assert (moved[0] - first).days == days


@settings(max_examples=100, deadline=None)
@given(KEYS, PATIENTS)
def test_patients_have_their_own_shift_and_pseudonym(secret, patient):
    names = Pseudonyms(Key(secret))
    other = patient.strip() + "x"
    assert names.patient(patient) != names.patient(other)
    assert names.shift_days(patient) == Pseudonyms(Key(secret), "basic").shift_days(patient)


def test_shifts_are_spread_over_the_whole_range():
    names = Pseudonyms(Key(bytes(range(32))))
    shifts = [names.shift_days(str(n)) for n in range(4000)]
    assert max(shifts) < 0
    assert min(shifts) < -3640
    assert max(shifts) > -10
    assert abs(sum(shifts) / len(shifts) + 1825) < 75  # standard error of the mean: 17
