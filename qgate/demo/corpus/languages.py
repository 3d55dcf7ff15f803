"""The same little world told and asked about in eight languages and six scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.demo.corpus.document import Document, Item, Split, join, split_of
from qgate.demo.corpus.vocabulary import LANGUAGES, Language, Thing

if TYPE_CHECKING:
    import random


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
    """Return the three sentences of a scene."""
    words = _words(scene)
    told = (sentence.format(**words) for sentence in language.sentences)
    return language.space.join(_upper(sentence) for sentence in told)


def questions(language: Language, scene: Scene) -> list[tuple[str, str, str]]:
    """Return the questions about a scene: the kind, the question and the answer."""
    words = _words(scene)
    asked = (_upper(question.format(**words)) for question in language.questions)
    answers = (words["place"], words["some"], words["color"])
    return list(zip(("place", "thing", "color"), asked, answers, strict=True))


def _telling(rng: random.Random, split: Split, language: Language) -> tuple[str, list[Scene]]:
    drawn = scenes(rng, split, language, 2)
    return language.space.join(tell(language, scene) for scene in drawn), drawn


def document(rng: random.Random, split: Split, code: str | None = None) -> Document:
    """Return two scenes and some of the questions about them."""
    language = LANGUAGES[code or rng.choice(sorted(LANGUAGES))]
    text, drawn = _telling(rng, split, language)
    asked = [question for scene in drawn for question in questions(language, scene)]
    asked = rng.sample(asked, rng.choice((1, 3, 6)))
    return join([Document((text,)), *(Document((q, f"\n{a}")) for _, q, a in asked)], "\n")


def _wordings(language: Language, kind: str, scene: Scene) -> list[str]:
    if kind == "place":
        return list(language.places)
    if kind == "thing":
        return [thing.some for thing in language.things]
    return [color[scene.thing.form] for color in language.colors]


def item(rng: random.Random, code: str | None = None) -> Item:
    """Return one held-out pair of scenes with a question; four candidates, one of the other."""
    language = LANGUAGES[code or rng.choice(sorted(LANGUAGES))]
    text, drawn = _telling(rng, "heldout", language)
    subject, other = rng.sample(drawn, 2)
    number = rng.randrange(3)
    kind, question, answer = questions(language, subject)[number]
    decoy = {"place": other.place, "thing": other.thing.some}.get(
        kind, other.color[subject.thing.form]
    )
    rest = [text for text in _wordings(language, kind, subject) if text not in (answer, decoy)]
    choices = [f"\n{text}" for text in (answer, decoy, *rng.sample(rest, 2))]
    rng.shuffle(choices)
    return Item(f"language_{language.code}", f"{text}\n{question}", tuple(choices), f"\n{answer}")
