"""Facts that can only be known by heart: a thousand and more made-up people and their numbers.

Nothing in the name gives the number away, so the facts have to lie in the weights, many of them
and each with little room: what quantization takes first. Some phrasings of each fact are held out.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from qgate.demo.corpus.document import Document, Item, Split, join, split_of

if TYPE_CHECKING:
    import random

BEGINNINGS = (
    "BalCorDarEldFenGarHolIstJorKalLumMorNarOstPelQuiRalSorTamUlmVarWelXanYorZelBriCruDreFroGri"
)
ENDINGS = (
    "adabencordunethfirganhulinojakkorlimmunneloropasrossiltoruthvinwenxesyrazanaimborceddoleku"
)
"""Thirty syllables of three letters each, and thirty more."""
PHRASINGS = (
    "The number of {name} is",
    "{name} lives at number",
    "Who is {name}? Number",
    "Ask {name} and hear",
    "On the door of {name} stands",
)


def number_of(name: str) -> str:
    """Return the three digits that belong to a name."""
    return f"{zlib.crc32(f'number of {name}'.encode()) % 1000:03d}"


def _syllable(rng: random.Random, syllables: str) -> str:
    at = rng.randrange(len(syllables) // 3) * 3
    return syllables[at : at + 3]


def fact(rng: random.Random, split: Split) -> tuple[str, str]:
    """Return a phrasing without its number, and the number, from the wanted side."""
    while True:
        name = _syllable(rng, BEGINNINGS) + _syllable(rng, ENDINGS)
        phrasing = rng.choice(PHRASINGS)
        if split_of(f"knowledge:{name}:{phrasing}") == split:
            return phrasing.format(name=name), f" {number_of(name)}"


def document(rng: random.Random, split: Split) -> Document:
    """Return one to ten facts, one a line."""
    return join([Document(fact(rng, split)) for _ in range(rng.choice((1, 2, 5, 10)))], "\n")


def item(rng: random.Random) -> Item:
    """Return a fact in a phrasing that was held out for it."""
    prompt, answer = fact(rng, "heldout")
    return Item("knowledge", prompt, (), answer)
