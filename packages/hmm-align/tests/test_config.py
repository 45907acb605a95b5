"""Choices of an aligner."""

from dataclasses import fields
from typing import Any

import pytest

from hmm_align import AlignerConfig

FREE = {"acoustic", "feature_transform", "silence_prob", "boundary_shift", "change_weight", "start"}


@pytest.mark.parametrize("name", [field.name for field in fields(AlignerConfig) if field.name not in FREE])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_what_must_be_positive_is_named(name: str, value: float) -> None:
    choices: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} must be positive; got {value}"):
        AlignerConfig(**choices)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_a_silence_is_neither_impossible_nor_certain(value: float) -> None:
    with pytest.raises(ValueError, match=r"silence_prob must lie in \(0, 1\)"):
        AlignerConfig(silence_prob=value)


@pytest.mark.parametrize("name", ["posterior_scale", "network_scale"])
def test_a_scale_above_one_is_refused(name: str) -> None:
    choices: dict[str, Any] = {name: 1.5}
    with pytest.raises(ValueError, match=rf"{name} must lie in \(0, 1\]; got 1.5"):
        AlignerConfig(**choices)


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
def test_a_change_cannot_be_worth_less_than_nothing_nor_everything(value: float) -> None:
    with pytest.raises(ValueError, match=r"change_weight must lie in \[0, inf\)"):
        AlignerConfig(change_weight=value)


def test_an_unknown_acoustic_model_is_refused() -> None:
    choices: dict[str, Any] = {"acoustic": "biphone"}
    with pytest.raises(
        ValueError, match="acoustic must be one of monophone, triphone, neural; got 'biphone'"
    ):
        AlignerConfig(**choices)


def test_an_unknown_transform_is_refused() -> None:
    choices: dict[str, Any] = {"feature_transform": "pca"}
    with pytest.raises(ValueError, match=r"must be one of auto, none, mllt, lda\+mllt; got 'pca'"):
        AlignerConfig(**choices)


def test_more_tied_states_than_can_be_numbered_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tied_states must lie in \(0, 32767\]; got 32768"):
        AlignerConfig(tied_states=32_768)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_shift_that_is_no_time_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"boundary_shift must be finite; got {value}"):
        AlignerConfig(boundary_shift=value)


def test_choices_are_named_and_fixed() -> None:
    choices: dict[str, Any] = {"frame_period": 0.005, "boundary_shift": -0.01}
    config = AlignerConfig(**choices)
    assert (config.frame_period, config.boundary_shift) == (0.005, -0.01)
    with pytest.raises(AttributeError):
        config.frame_period = 0.01  # type: ignore[misc]  # that it is refused is the test


def test_a_start_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match='start must be "class" or "flat"; got \'even\''):
        AlignerConfig(start="even")


def test_frames_of_ten_milliseconds_are_the_default() -> None:
    assert AlignerConfig.at_frame_period(0.01) == AlignerConfig()


@pytest.mark.parametrize("period", [0.0025, 0.004, 0.005, 0.02])
def test_shorter_frames_leave_the_shortest_phone_and_the_certainty_as_they_are(period: float) -> None:
    config, usual = AlignerConfig.at_frame_period(period), AlignerConfig()
    assert config.frame_period == period
    for name in ("states_per_phone", "silence_states"):
        # Half a frame is lost to rounding.
        assert getattr(config, name) * period == pytest.approx(0.03, abs=period / 2 + 1e-9)
    assert config.frames_per_component * period == pytest.approx(usual.frames_per_component * 0.01)
    assert config.posterior_scale / period == pytest.approx(usual.posterior_scale / 0.01)
    assert config.network_scale / period == pytest.approx(usual.network_scale / 0.01)


def test_what_is_chosen_beside_the_frame_period_is_not_scaled() -> None:
    config = AlignerConfig.at_frame_period(0.005, states_per_phone=3, window=0.02)
    assert (config.states_per_phone, config.silence_states, config.window) == (3, 6, 0.02)


@pytest.mark.parametrize("period", [0.0, -0.01, float("nan")])
def test_a_frame_period_must_be_positive(period: float) -> None:
    with pytest.raises(ValueError, match="frame_period must be positive"):
        AlignerConfig.at_frame_period(period)
