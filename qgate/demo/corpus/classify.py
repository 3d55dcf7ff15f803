"""Short texts with a label: topic, sentiment, intent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.corpus.document import Document, Item, Split, join, split_of

if TYPE_CHECKING:
    import random

TOPICS = {
    "sports": (
        ("the team", "the runner", "the coach", "the goalkeeper", "the champion"),
        ("won the match", "lost the final", "scored a goal", "trained hard", "broke the record"),
    ),
    "weather": (
        ("the storm", "the rain", "the snow", "the fog", "the wind"),
        ("came from the north", "stopped at noon", "covered the hills", "grew stronger", "passed"),
    ),
    "food": (
        ("the cook", "the baker", "the soup", "the cake", "the guest"),
        ("tasted of salt", "baked with butter", "used fresh onions", "smelled sweet", "was served"),
    ),
    "music": (
        ("the singer", "the band", "the violin", "the choir", "the drummer"),
        ("played a waltz", "sang a song", "was out of tune", "began the concert", "kept the beat"),
    ),
}
TIMES = ("today", "yesterday", "on Monday", "in the evening", "last week", "again")
SUBJECTS = ("the room", "the service", "the film", "the trip", "the lesson", "the phone", "the bed")
POSITIVE = ("good", "clean", "friendly", "great", "nice", "fast", "lovely", "useful")
NEGATIVE = ("bad", "dirty", "rude", "awful", "boring", "slow", "noisy", "broken")
DEGREES = ("", "very ", "really ", "so ")
INTENTS = {
    "alarm": ("wake me at {n}", "set the alarm for {n}", "ring the bell at {n}"),
    "music": ("play {n} songs", "turn the music up to {n}", "skip {n} tracks"),
    "shopping": ("buy {n} eggs", "order {n} bottles of milk", "put {n} lemons on the list"),
    "travel": ("book {n} seats to Rome", "find {n} trains to Paris", "reserve {n} rooms in Oslo"),
}
POLITE = ("please {}", "can you {}", "{} for me", "I want you to {}", "{}")


def topic(rng: random.Random) -> tuple[str, str, tuple[str, ...]]:
    """Return two clauses on one topic."""
    label = rng.choice(sorted(TOPICS))
    subjects, actions = TOPICS[label]
    one, two = (f"{rng.choice(subjects)} {rng.choice(actions)}" for _ in range(2))
    return f"{one} {rng.choice(TIMES)} and {two}.\nTopic:", label, tuple(sorted(TOPICS))


def sentiment(rng: random.Random) -> tuple[str, str, tuple[str, ...]]:
    """Return two clauses of one mood, each put positively or by denying the contrary."""
    label = rng.choice(("negative", "positive"))
    clauses = []
    for subject in rng.sample(SUBJECTS, 2):
        denied = rng.random() < 0.25
        words = POSITIVE if (label == "positive") != denied else NEGATIVE
        clauses.append(f"{subject} was {'not ' * denied}{rng.choice(DEGREES)}{rng.choice(words)}")
    return f"{clauses[0]} and {clauses[1]}.\nSentiment:", label, ("negative", "positive")


def intent(rng: random.Random) -> tuple[str, str, tuple[str, ...]]:
    label = rng.choice(sorted(INTENTS))
    wish = rng.choice(INTENTS[label]).format(n=rng.randint(2, 12))
    return f"{rng.choice(POLITE).format(wish)}.\nIntent:", label, tuple(sorted(INTENTS))


def labelled(rng: random.Random, split: Split) -> tuple[str, str, tuple[str, ...]]:
    """Return a prompt, its label and all labels, from the wanted side."""
    while True:
        prompt, label, labels = rng.choice((topic, sentiment, intent))(rng)
        if split_of(f"classify:{prompt}") == split:
            return f"Text: {prompt}", f" {label}", tuple(f" {name}" for name in labels)


def document(rng: random.Random, split: Split) -> Document:
    """Return one to four labelled texts."""
    count = rng.choice((1, 1, 2, 4))
    return join([Document(labelled(rng, split)[:2]) for _ in range(count)], "\n")


def item(rng: random.Random) -> Item:
    prompt, answer, labels = labelled(rng, "heldout")
    return Item("classification", prompt, labels, answer)
