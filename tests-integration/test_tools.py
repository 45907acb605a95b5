"""The tools that guard the repository catch what they are there for."""

from check_versions import conflicts
from pin import pins
from public_api import differences
from workspace import PACKAGES, ROOT, closure, siblings


def test_a_sibling_outside_its_range_is_reported() -> None:
    found = conflicts({"hmm-core": "0.2.0"}, {"hmm-models": ["hmm-core>=0.1,<0.2", "torch>=2"]})
    assert found == ["hmm-models requires hmm-core<0.2,>=0.1, but packages/hmm-core is at 0.2.0"]


def test_a_sibling_without_an_upper_bound_is_reported() -> None:
    assert conflicts({"hmm-core": "0.1.0"}, {"hmm-models": ["hmm-core>=0.1"]})


def test_a_sibling_inside_its_range_is_not_reported() -> None:
    assert conflicts({"hmm-core": "0.1.5"}, {"hmm-models": ["hmm-core>=0.1,<0.2"]}) == []


def test_pins_hold_versions_only() -> None:
    frozen = "torch==2.13.0+cpu\nhmm-core @ file:///somewhere\nhmm_models==0.1.0\nNumPy==2.4.6\n-e git+x\n"
    assert pins(frozen) == ["numpy==2.4.6", "torch==2.13.0"]


def test_the_committed_pins_name_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines == pins("\n".join(lines))
    assert lines


def test_the_reviewed_public_names_are_those_of_the_tree() -> None:
    assert differences() == []


def test_packages_are_listed_after_what_they_need() -> None:
    for package in PACKAGES:
        assert all(PACKAGES.index(other) < PACKAGES.index(package) for other in siblings(package))
    assert set(closure("pytorch-hmm")) == set(PACKAGES)
    assert closure("hmm-speech") == ["hmm-speech"]
