"""The same little world told and asked about in eight languages and six scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.demo.corpus.document import Document, Item, Split, join, split_of
from qgate.demo.corpus.vocabulary import LANGUAGES, Language, Thing

if TYPE_CHECKING:
    import random


WEIGHTS = {"en": 1, "de": 1, "es": 1, "el": 1, "ru": 3, "ar": 3, "zh": 3, "hi": 6}
"""How often each language is told: what takes many tokens a word is learned late."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One person, where they are, what they have and its color."""

    name: tuple[str, str]
    place: str
    thing: Thing
    color: tuple[str, str]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def scenes(rng: random.Random, split: Split, language: Language, count: int) -> list[Scene]:
    """Return scenes that differ in every respect, all from the wanted side."""
    drawn: list[Scene] = []
    while len(drawn) < count:
        scene = Scene(
            rng.choice(language.names),
            rng.choice(language.places),
            rng.choice(language.things),
            rng.choice(language.colors),
        )
        if _owner(language, scene) == split and not any(_overlap(scene, old) for old in drawn):
            drawn.append(scene)
    return drawn


def _overlap(one: Scene, two: Scene) -> bool:
    return (
        one.name == two.name
        or one.place == two.place
        or one.thing == two.thing
        or one.color == two.color
    )


def _owner(language: Language, scene: Scene) -> Split:
    parts = (language.code, scene.name[0], scene.place, scene.thing.some, scene.color[0])
    return split_of(":".join(parts))


def _words(scene: Scene) -> dict[str, str]:
    return {
        "name": scene.name[0],
        "of": scene.name[1],
        "place": scene.place,
        "some": scene.thing.some,
        "the": scene.thing.the,
        "color": scene.color[scene.thing.form],
    }


def tell(language: Language, scene: Scene) -> str:
    return language.space.join(statements(language, _words(scene)))


def statements(language: Language, words: dict[str, str]) -> list[str]:
    return [_upper(sentence.format(**words)) for sentence in language.sentences]


def questions(language: Language, scene: Scene) -> list[tuple[str, str]]:
    words = _words(scene)
    asked = (_upper(question.format(**words)) for question in language.questions)
    return list(zip(asked, statements(language, words), strict=True))


def _telling(
    rng: random.Random, split: Split, language: Language, count: int
) -> tuple[str, list[Scene]]:
    drawn = scenes(rng, split, language, count)
    return language.space.join(tell(language, scene) for scene in drawn), drawn


def document(rng: random.Random, split: Split, code: str | None = None) -> Document:
    """Return one or two scenes and some of the questions about them."""
    language = LANGUAGES[code or rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]]
    text, drawn = _telling(rng, split, language, rng.choice((1, 1, 2)))
    asked = [question for scene in drawn for question in questions(language, scene)]
    rng.shuffle(asked)
    asked = asked[: rng.choice((1, 3, 6))]
    return join([Document((text,)), *(Document((q, f"\n{a}")) for q, a in asked)], "\n")


SLOTS = ("place", "some", "color")


def _wordings(language: Language, slot: str, form: int) -> list[str]:
    if slot == "place":
        return list(language.places)
    if slot == "some":
        return [thing.some for thing in language.things]
    return [color[form] for color in language.colors]


def item(rng: random.Random, code: str | None = None) -> Item:
    """Return a held-out scene with a question and four candidates for the answer.

    Half of the questions come after another one that has been answered.
    """
    language = LANGUAGES[code or rng.choice(sorted(LANGUAGES))]
    text, (scene,) = _telling(rng, "heldout", language, 1)
    before, asked = rng.sample(range(len(SLOTS)), 2)
    slot, words = SLOTS[asked], _words(scene)
    question, answer = questions(language, scene)[asked]
    if rng.random() < 0.5:
        text = "\n".join([text, *questions(language, scene)[before]])
    rest = [word for word in _wordings(language, slot, scene.thing.form) if word != words[slot]]
    wrong = (words | {slot: word} for word in rng.sample(rest, 3))
    choices = [f"\n{answer}", *(f"\n{statements(language, words)[asked]}" for words in wrong)]
    rng.shuffle(choices)
    return Item(f"language_{language.code}", f"{text}\n{question}", tuple(choices), f"\n{answer}")
