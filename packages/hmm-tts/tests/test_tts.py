"""What a synthesiser takes from below."""

import hmm_speech
import hmm_tts


def test_durations_are_those_of_hmm_speech() -> None:
    assert hmm_tts.durations_from_intervals is hmm_speech.durations_from_intervals
    assert hmm_tts.intervals_from_durations is hmm_speech.intervals_from_durations
