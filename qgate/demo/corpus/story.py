"""Short stories in which some sentences follow from the ones before.

Every plot is a list of sentences; those that follow carry wrong variants of the same form
(another person, another thing), so that telling them apart needs the story and not the grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.demo.corpus.document import Document, Item, Split, join, split_of

if TYPE_CHECKING:
    import random

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas")
PLACES = ("garden", "kitchen", "park", "forest", "school", "market", "library", "station")
THINGS = ("ball", "book", "lamp", "cup", "hat", "key", "kite", "drum", "coin", "bell")
COLORS = ("red", "blue", "green", "white", "black", "yellow")
NEEDS = {
    "hungry": "ate some bread",
    "thirsty": "drank some water",
    "cold": "put on a coat",
    "tired": "went to bed",
    "dirty": "washed with soap",
    "bored": "played a game",
}


@dataclass(frozen=True, slots=True)
class Cast:
    """What one story is about: two people, a place, two things and two needs."""

    people: tuple[str, str]
    place: str
    things: tuple[str, str]
    """With their colors: ``red ball``."""
    needs: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, and wrong variants if it follows from the ones before."""

    text: str
    wrong: tuple[str, ...] = ()


def cast(rng: random.Random, split: Split, plot: str) -> Cast:
    """Return a cast from the wanted side."""
    while True:
        one, two = rng.sample(NAMES, 2)
        colors, things = rng.sample(COLORS, 2), rng.sample(THINGS, 2)
        left, right = (f"{color} {thing}" for color, thing in zip(colors, things, strict=True))
        need, other = rng.sample(sorted(NEEDS), 2)
        place = rng.choice(PLACES)
        told = f"{need}:{other}" if plot == "need" else f"{left}:{right}"
        if split_of(f"story:{plot}:{one}:{two}:{told}") == split:
            return Cast((one, two), place, (left, right), (need, other))


def gift(who: Cast) -> list[Sentence]:
    """Tell how a found thing changes hands."""
    one, two = who.people
    mine, other = who.things
    return [
        Sentence(f"{one} went to the {who.place} and found a {mine}."),
        Sentence(f"{two} had a {other}."),
        Sentence(f"{one} gave the {mine} to {two}.", _giving(one, two, mine, other)),
        Sentence(
            f"Now {two} has the {mine}.",
            (f"Now {one} has the {mine}.", f"Now {one} has the {other}."),
        ),
    ]


def _giving(one: str, two: str, mine: str, other: str) -> tuple[str, ...]:
    return (
        f"{two} gave the {mine} to {one}.",
        f"{one} gave the {other} to {two}.",
        f"{two} gave the {mine} to {two}.",
    )


def swap(who: Cast) -> list[Sentence]:
    """Tell how two people swap what they have."""
    one, two = who.people
    mine, yours = who.things
    return [
        Sentence(f"{one} had a {mine}."),
        Sentence(f"{two} had a {yours}."),
        Sentence(f"They met at the {who.place} and swapped."),
        Sentence(f"Now {one} has the {yours}.", (f"Now {one} has the {mine}.",)),
        Sentence(f"Now {two} has the {mine}.", (f"Now {two} has the {yours}.",)),
    ]


def lost(who: Cast) -> list[Sentence]:
    """Tell how a thing is lost and found again."""
    one, two = who.people
    mine, yours = who.things
    return [
        Sentence(f"{one} had a {mine} and {two} had a {yours}."),
        Sentence(f"In the {who.place} {one} lost the {mine}."),
        Sentence(f"So {one} was sad.", (f"So {two} was sad.",)),
        Sentence(
            f"{two} found the {mine} in the {who.place}.",
            (
                f"{two} found the {yours} in the {who.place}.",
                f"{one} found the {yours} in the {who.place}.",
            ),
        ),
        Sentence(f"{one} thanked {two}.", (f"{two} thanked {one}.",)),
    ]


def need(who: Cast) -> list[Sentence]:
    """Tell what two people need and do about it."""
    one, two = who.people
    left, right = who.needs
    others = sorted(set(NEEDS) - set(who.needs))
    return [
        Sentence(f"{one} and {two} were at the {who.place}."),
        Sentence(f"{one} was {left} and {two} was {right}."),
        *(
            Sentence(
                f"So {name} {NEEDS[felt]}.",
                (
                    f"So {name} {NEEDS[wrong]}.",
                    *(f"So {name} {NEEDS[extra]}." for extra in others[:2]),
                ),
            )
            for name, felt, wrong in ((one, left, right), (two, right, left))
        ),
    ]


PLOTS = {"gift": gift, "swap": swap, "lost": lost, "need": need}


def story(rng: random.Random, split: Split) -> list[Sentence]:
    plot = rng.choice(sorted(PLOTS))
    return PLOTS[plot](cast(rng, split, plot))


def tell(sentences: list[Sentence]) -> Document:
    """Return the story as a document: sentences that follow are the odd pieces."""
    lead = (" " if number else "" for number in range(len(sentences)))
    return join(
        [
            Document((space, sentence.text) if not space else ("", space + sentence.text))
            if sentence.wrong
            else Document((space + sentence.text,))
            for space, sentence in zip(lead, sentences, strict=True)
        ],
        "",
    )


def document(rng: random.Random, split: Split) -> Document:
    return join([tell(story(rng, split)) for _ in range(rng.choice((1, 1, 2, 3)))], "\n")


def item(rng: random.Random) -> Item:
    """Return a held-out story up to a sentence that follows, and the candidates for it."""
    sentences = story(rng, "heldout")
    asked = rng.choice([n for n, sentence in enumerate(sentences) if sentence.wrong])
    answer = f" {sentences[asked].text}"
    choices = [answer, *(f" {text}" for text in sentences[asked].wrong)]
    rng.shuffle(choices)
    prompt = " ".join(sentence.text for sentence in sentences[:asked])
    return Item("next_sentence", prompt, tuple(choices), answer)
