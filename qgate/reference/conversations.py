"""Conversations with the reference: shipped prompts in its own chat frame, its answers as the text.

A window is one conversation. A prompt is put to the model as a server would put it, its answer is
drawn until the token that ends it, then the next prompt follows as the next turn, until the window
is full. Only what the model said is scored, ends of answers included. Slices of the prompts
(`thresholds/prompts/conversations.jsonl`) take turns within each window and from window to window:
windows differ less, which is what intervals live on, and any leading part of them is a fair mix.

What the reference does not know is not asked: prompts of which it predicts the text with more than
`MOST_BITS` a byte, as of a language that it was not trained on. On such ground its answers are
noise, and so are divergences of them. Where few are left, the demo model's questions (`open.jsonl`)
are asked too, as far as it knows those; where few are known of all, all are asked.

A model without a chat template goes on with each prompt as with the beginning of a text; behind
its end token, or behind the longest answer, the next prompt begins another text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qgate.artifacts.serving_defaults import serving_defaults
from qgate.artifacts.tokenizer.chat_template import chat_template_of
from qgate.errors import NotApplicable
from qgate.reference.prompts import Asked, read_conversations, read_prompts
from qgate.reference.windows import Windows, by_window
from qgate.runtimes.base import Heat, Sampling, Span, require_context
from qgate.runtimes.requests import TokenizerClient, Work, perform
from qgate.runtimes.verbs import SAMPLE
from qgate.runtimes.worker.sampling import GIVEN
from qgate.thresholds import shipped_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.records import Artifact
    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host
    from qgate.thresholds import TextSettings

SERVED = Heat(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)
"""Defaults of llama.cpp's server (`llama-server --help`), for models whose files name no others."""
MOST_BITS = 4.0
"""A byte: what the frequencies of letters alone give for English. SmolLM2-135M reads prompts of
the shipped slices with 1 to 2 and languages that it hardly knows with 3 to 4; stories260K reads
English with 2 to 4 and any other language with 6 and more; the demo model has 0.1 to 2 for its own
questions and 8 and more for all others."""
_FEW = 16
"""Fewer prompts are no mix."""
_PROMPTS_A_WINDOW = 4
"""So many prompts are offered for each window: as many as it takes turns, or more."""
_FRESH_A_SLICE = 8
"""An extension asks prompts of a slice again where it has fewer that were not asked."""
_LAYOUT = 4
"""Part of the digest: raised when the same recipe comes to mean other windows."""
_MOST_ROUNDS = 4
"""Times as many conversations as are asked for, of a model that says little in each."""
SEEDS_APART = 1_000_003
"""Between the seeds of two rounds of one text."""
_ANSWER = "QGATE-ANSWER"
"""Stands for the model's answer while the next turn is rendered behind it."""
_ANSWER_SHARE = 4
"""The longest answer takes one part in so many of a window, and so does the longest prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framed:
    """Prompts as a model is asked them."""

    firsts: tuple[str, ...]
    """Each as what begins a sequence."""
    follows: tuple[str, ...] | None
    """Each as what follows an answer; None: each begins another text there too."""
    how: str
    """For the report."""


def frame(prompts: Sequence[str], reference: Artifact | None) -> Framed:
    """Prompts in the chat frame of a model's own files; plain where it has none that works.

    Args:
        prompts: what a user says.
        reference: whose template is applied; None: none is.

    Raises:
        ArtifactError: its files cannot be read.
        MeasurementError: its template is too slow, or its process ended.
    """
    plain = Framed(firsts=tuple(prompts), follows=None, how="continued as plain text")
    found = chat_template_of(reference) if reference is not None else None
    if found is None:
        return plain
    from qgate.sandbox.chat import Chat
    from qgate.sandbox.chat_rendering import TemplateRefused, render_chats

    chat = Chat(template=found.text, bos_token=found.bos_token, eos_token=found.eos_token)
    first = [[_message("user", prompt)] for prompt in prompts]
    before = [_message("user", "Hello"), _message("assistant", _ANSWER)]
    second = [[*before, *one] for one in first]
    try:
        texts = render_chats(chat, [*first, *second])
    except TemplateRefused:
        return dataclasses.replace(plain, how=f"{plain.how}: its chat template cannot be applied")
    follows = tuple(text.rpartition(_ANSWER)[2] for text in texts[len(prompts) :])
    return Framed(firsts=tuple(texts[: len(prompts)]), follows=follows, how="in its chat frame")


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the reference is asked, and how its answers are drawn."""

    prompts: tuple[Asked, ...]
    more: tuple[Asked, ...] = ()
    """Asked too where the reference knows few of the others."""
    fresh: tuple[Asked, ...] = ()
    """What only an extension asks."""
    reference: Artifact | None
    """Whose chat frame the prompts are asked in."""
    heat: Heat
    seed: int

    @property
    def name(self) -> str:
        """What the report calls the text, in a line of the table."""
        return f"the reference's answers, seed {self.seed}"

    @property
    def sampled(self) -> str:
        """How the answers are drawn, in words."""
        heat = self.heat
        return (
            f"temperature {heat.temperature:g}, top_k {heat.top_k}, top_p {heat.top_p:g},"
            f" min_p {heat.min_p:g}"
        )

    def digest(self) -> str:
        """`sha256:...` of everything that the text depends on, beside the reference itself."""
        found = chat_template_of(self.reference) if self.reference is not None else None
        whole = json.dumps(
            [
                _LAYOUT,
                [[one.slice, one.prompt] for one in self.prompts],
                [[one.slice, one.prompt] for one in self.more],
                None if found is None else dataclasses.asdict(found),
                dataclasses.asdict(self.heat),
                self.seed,
            ]
        )
        return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


def find_recipe(settings: TextSettings, reference: Artifact | None) -> Recipe:
    """The shipped prompts, drawn as the reference's own files want it.

    Raises:
        ArtifactError: its files cannot be read.
    """
    named = serving_defaults(reference) if reference is not None else {}
    heat = SERVED
    if named:
        heat = Heat(
            temperature=named["temperature"],
            top_k=int(named.get("top_k", 0)),
            top_p=named.get("top_p", 1.0),
            min_p=named.get("min_p", 0.0),
        )
    shipped = shipped_path().parent / "prompts"
    prompts = read_conversations(shipped / "conversations.jsonl")
    offered = max(_FEW, _PROMPTS_A_WINDOW * settings.windows)
    return Recipe(
        prompts=prompts[:offered],  # slices take turns
        fresh=prompts[offered:],
        more=tuple(
            Asked(slice="questions", prompt=prompt)
            for prompt in read_prompts(shipped / "open.jsonl")
        ),
        reference=reference,
        heat=heat,
        seed=settings.seed,
    )


def converse(
    recipe: Recipe, settings: TextSettings, host: Host, facts: ModelFacts, first_round: int = 0
) -> Windows:
    """Have the reference answer, and take its answers as windows.

    Args:
        recipe: what is asked, and how answers are drawn.
        settings: the sizes.
        host: the reference's child.
        facts: of the reference.
        first_round: above 0: more of a text that already has so many rounds. It is of prompts that
            were not asked before, as far as each slice has some: conversations with the same
            prompts resemble each other, and their intervals would be too narrow.

    Raises:
        NotApplicable: too few prompts are left for more of it.
        MeasurementError: it said too little.
        QGateError: its runtime failed.
    """
    prompts, how = _ids(recipe, host, facts, is_extension=first_round > 0)
    if first_round and sum(one.is_fresh for one in prompts) < settings.windows:
        raise NotApplicable(
            f"text: no more of it: got {sum(one.is_fresh for one in prompts)} prompts that were not"
            f" asked; expected {settings.windows}"
        )
    room = _room(prompts, settings, require_context(facts.context_length))
    rounds: list[_Round] = []
    names: tuple[str, ...] = ()
    while len(rounds) < _MOST_ROUNDS and not _are_enough(rounds, settings.windows, room):
        number = first_round + len(rounds)
        names, plan = _plan(settings.windows, prompts, room, number)
        rounds.append(_write(recipe, host, facts, room, plan, number))
    ids, answers = (
        np.concatenate([getattr(one, name) for one in rounds]) for name in ("ids", "answers")
    )
    plan = [turns for one in rounds for turns in one.plan]
    return Windows(
        ids=ids.astype(np.int32),
        clusters=by_window(ids, 0),
        clustered_by="conversation",
        scored=answers[:, 1:] != GIVEN,
        slices=names,
        topics=_topics(names, plan, answers[:, 1:]),
        asked=f"{len(prompts)} prompts, {how}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """As many conversations as there are to be windows."""

    plan: list[list[_Turn]]
    ids: np.ndarray
    """Shape (windows, tokens)."""
    answers: np.ndarray
    """The turn that each token answers, the same shape; `GIVEN`: none."""


def _are_enough(rounds: Sequence[_Round], windows: int, room: _Room) -> bool:
    """Whether as many tokens were said as 2 in 5 of those that the windows hold.

    A model that says little needs more conversations for as much to be scored.
    """
    said = sum(int((one.answers != GIVEN).sum()) for one in rounds)
    return 5 * said >= 2 * windows * room.tokens


def _write(
    recipe: Recipe,
    host: Host,
    facts: ModelFacts,
    room: _Room,
    plan: list[list[_Turn]],
    number: int,
) -> _Round:
    """Have the reference answer all turns of one round.

    Raises:
        MeasurementError: it said too little.
        QGateError: its runtime failed.
    """
    sampling = Sampling(
        sequences=len(plan),
        tokens=room.tokens,
        seed=recipe.seed + number * SEEDS_APART,
        heat=recipe.heat,
        turns=tuple(tuple(one.ids for one in turns) for turns in plan),
        answer_tokens=room.turn,
        ends=facts.end_tokens,
    )
    sampled = SAMPLE.ask(host, sampling)
    return _Round(plan=plan, ids=sampled.ids, answers=sampled.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What is said to the model at once."""

    slice: str
    ids: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ids:
    """One prompt as token ids."""

    slice: str
    first: np.ndarray
    follow: np.ndarray
    is_fresh: bool = False
    """Whether only an extension asks it."""


def _known(recipe: Recipe, host: Host, tokenizer: TokenizerClient) -> tuple[Asked, ...]:
    """What the reference knows enough of to be asked it."""
    known = tuple(_read_well(recipe.prompts, host, tokenizer))
    if len(known) < _FEW:
        known += tuple(_read_well(recipe.more, host, tokenizer))
    return known if len(known) >= _FEW else recipe.prompts


def _read_well(asked: Sequence[Asked], host: Host, tokenizer: TokenizerClient) -> list[Asked]:
    """Those of which the reference predicts the bare text well enough."""
    if not asked:
        return []
    begin = np.array([tokenizer.first_token], dtype=np.int32)
    spans = []
    for ids in tokenizer.begin([one.prompt for one in asked]):
        cut = ids[: tokenizer.context_tokens - 1]
        has_begin = len(cut) > 1 and cut[0] == tokenizer.first_token
        spans.append(Span(ids=cut if has_begin else np.concatenate([begin, cut]), first=0))
    scored = perform(Work(spans=tuple(spans)), host, ())
    return [
        one
        for one, nll in zip(asked, scored.nll_nats, strict=True)
        if nll.sum() / math.log(2) <= MOST_BITS * len(one.prompt.encode())
    ]


def _ids(
    recipe: Recipe, host: Host, facts: ModelFacts, *, is_extension: bool
) -> tuple[list[_Ids], str]:
    """The prompts that are asked, and how they are put."""
    tokenizer = TokenizerClient(host, facts.context_length, facts.first_token)
    old = _known(recipe, host, tokenizer)
    prompts = (*old, *_read_well(recipe.fresh, host, tokenizer)) if is_extension else old
    framed = frame([one.prompt for one in prompts], recipe.reference)
    firsts = tokenizer.begin(framed.firsts)
    follows = firsts if framed.follows is None else tokenizer.follow(framed.follows)
    found = [
        _Ids(slice=asked.slice, first=first, follow=follow, is_fresh=number >= len(old))
        for number, (asked, first, follow) in enumerate(zip(prompts, firsts, follows, strict=True))
    ]
    return found, framed.how


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Sizes of a conversation, in tokens."""

    tokens: int
    """The whole."""
    turn: int
    """The longest answer, and the longest prompt but for the first."""
    first: int
    """The longest first prompt, with what the template puts before it."""


def _room(prompts: Sequence[_Ids], settings: TextSettings, context_tokens: int) -> _Room:
    """`conversation_tokens`, and more where a template puts much before the first prompt."""
    least = min(settings.conversation_tokens, context_tokens)
    most = max(least, min(settings.window_tokens, context_tokens))
    turn = max(1, least // _ANSWER_SHARE)
    before = min(len(one.first) - len(one.follow) for one in prompts if not one.is_fresh)
    tokens = min(most, least + max(0, before - turn))
    return _Room(tokens=tokens, turn=turn, first=max(2, tokens - least // 2))


def _plan(
    windows: int, prompts: Sequence[_Ids], room: _Room, number: int
) -> tuple[tuple[str, ...], list[list[_Turn]]]:
    """All slices, and the turns of each window of a round.

    A prompt that takes more than its part of a window is left out; the first of a window has more,
    for what a template puts before it. Where all take more, each keeps its beginning token and its
    end.
    """
    most, most_first = room.turn, room.first
    fitting = [one for one in prompts if len(one.first) <= most_first and len(one.follow) <= most]
    if not fitting:
        fitting = [
            _Ids(
                slice=one.slice,
                first=np.concatenate([one.first[:1], one.first[1:][-(most_first - 1) :]]),
                follow=one.follow[-most:],
                is_fresh=one.is_fresh,
            )
            for one in prompts
        ]
    names = tuple(dict.fromkeys(one.slice for one in fitting if not one.is_fresh))
    own = [_of_slice(name, fitting) for name in names]
    # each round begins elsewhere in each slice
    cuts = [number * len(mine) // _MOST_ROUNDS % max(len(mine), 1) for mine in own]
    turned = [[*mine[cut:], *mine[:cut]] for mine, cut in zip(own, cuts, strict=True)]
    return names, [_turns(window, windows, turned, room.tokens) for window in range(windows)]


def _of_slice(name: str, prompts: Sequence[_Ids]) -> list[_Ids]:
    """The prompts of a slice: those that were not asked before, where there are enough."""
    mine = [one for one in prompts if one.slice == name]
    fresh = [one for one in mine if one.is_fresh]
    return fresh if len(fresh) >= _FRESH_A_SLICE else mine


def _turns(window: int, windows: int, own: Sequence[Sequence[_Ids]], size: int) -> list[_Turn]:
    """The turns of one window: as many as fill it, whatever is answered.

    Args:
        window: its number.
        windows: how many there are.
        own: the prompts of each slice.
        size: tokens of a window.
    """
    turns: list[_Turn] = []
    left = size
    while left > 0:
        mine = own[(window + len(turns)) % len(own)]
        # each window begins elsewhere in each slice, as far from the others as it can be
        place = window * len(mine) // windows + len(turns) // len(own)
        one = mine[place % len(mine)]
        turns.append(_Turn(slice=one.slice, ids=one.follow if turns else one.first))
        left -= max(len(turns[-1].ids), 1)
    return turns


def _topics(names: tuple[str, ...], plan: list[list[_Turn]], answers: np.ndarray) -> np.ndarray:
    """The slice that each token is an answer in; -1 of what was given."""
    found = np.full(answers.shape, -1, dtype=np.int32)
    for row, (turns, own) in enumerate(zip(plan, answers, strict=True)):
        of_turns = np.array([names.index(turn.slice) for turn in turns])
        found[row] = np.where(own == GIVEN, -1, of_turns[own])
    return found
