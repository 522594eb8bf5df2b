"""A version that went wrong is told from everything else, and the way back is found."""

import pytest

from tests.verdicts.town import Situation, Town

pytestmark = pytest.mark.verdicts


@pytest.mark.parametrize(
    ("release", "says"),
    [
        ("recode", "on the same"),
        ("scale", "on the same"),
        ("slow", "times as long as another version"),
        ("corrupted", "no host answers its golden test"),
        ("wrong", "on its own holdout it is right in"),
        ("quantised", "on its own holdout it is right in"),
        ("config", "on its own holdout it is right in"),
        ("mislabelled", "on the same"),
    ],
)
def test_a_bad_version_is_named_and_the_last_good_one_suggested(town: Town, release: str, says: str) -> None:
    began = town.happen(Situation(release=release))

    judged = town.judged(began)

    assert town.alerts(), judged.told()
    assert (judged.word, judged.suggested) == ("a bad version", ["Roll back to version 1"]), judged.told()
    assert says in judged.because, judged.told()


@pytest.mark.parametrize("release", ["recode", "scale"])
def test_its_weights_with_the_older_preprocessing_are_offered_beside_it(town: Town, release: str) -> None:
    began = town.happen(Situation(release=release))

    judged = town.judged(began)

    part = judged.candidates[0]
    assert part.to_version.number == 3, judged.told()
    assert part.reasons[0] == "Version 2 with the preprocessing of version 1."
    assert not part.eligible
    assert "It has never soaked in production" in part.reasons[1]
    assert part.replay["candidate"]["accuracy"] >= judged.candidates[1].replay["candidate"]["accuracy"]
    assert [option.name for option in judged.diagnosis.options[:2]] == [
        "Roll back to version 1", "Roll back a part: version 3",
    ]  # fmt: skip


def test_an_honest_release_is_not_accused(town: Town) -> None:
    began = town.happen(Situation(release="none"))

    judged = town.judged(began)

    assert [kind for kind in town.alerts() if kind != "latency"] == [], judged.told()
    assert judged.word is None, judged.told()
    assert judged.suggested == []
