"""The reference's answers as the text: how prompts are put to it, and what of them is scored."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.demo.__main__ import model_directory
from qgate.errors import MeasurementError, NotApplicable
from qgate.reference.conversations import SERVED, Recipe, converse, find_recipe, frame
from qgate.reference.prompts import Asked
from qgate.reference.texts import Text, cut_windows, describe
from qgate.runtimes.base import Heat, ModelFacts, Sampling, Span
from qgate.runtimes.messages import SpanScores, Texts
from qgate.runtimes.worker.sampling import write
from qgate.thresholds import TextSettings

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.reference.windows import Windows

BOS, END, LETTER = 1, 2, 3
FACTS = ModelFacts(
    n_vocab=300,
    width=16,
    n_params=10_000,
    context_length=64,
    bos=BOS,
    adds_bos=True,
    first_token=BOS,
    end_tokens=(END,),
    weights_bytes=1,
    load_s=0.0,
)
ASKED = tuple(
    Asked(slice=name, prompt=f"{name}{number}") for number in range(4) for name in ("a", "b")
)
RECIPE = Recipe(prompts=ASKED, reference=None, heat=Heat(), seed=5)


class Letters:
    """Stands for a host: a token a byte; it says LETTER some times to each turn and ends."""

    n_vocab = None

    def __init__(self, nats_a_byte: float = 1.0, an_answer: int = 3) -> None:
        self.asked: Any = None
        self.an_answer = an_answer
        self.nats_a_byte = nats_a_byte

    def call(self, verb: str, request: object) -> Any:
        if isinstance(request, Texts):
            begin = [BOS] if request.begins else []
            return [np.array(begin + list(text.encode()), np.int32) for text in request.texts]
        if verb == "score_spans":
            return scores([(span, self.nats_a_byte) for span in cast("Any", request)])
        assert isinstance(request, Sampling)
        self.asked = sampling = request
        said = Counter[int]()

        def read(tokens: np.ndarray, _: int, wanted: np.ndarray) -> np.ndarray:
            logits = np.full((int(wanted.sum()), 300), -np.inf, dtype=np.float32)
            for row, sequence in enumerate(np.flatnonzero(wanted)):
                said[int(sequence)] += 1
                is_over = said[int(sequence)] % (self.an_answer + 1) == 0
                logits[row, END if is_over else LETTER] = 0.0
            return logits

        return write(sampling, BOS, read, lambda *_: None)


def scores(spans: list[tuple[Span, float]]) -> SpanScores:
    return SpanScores(
        nll_nats=tuple(np.full(len(span.ids) - 1, nats) for span, nats in spans),
        is_top=tuple(np.zeros(len(span.ids) - 1, dtype=bool) for span, _ in spans),
    )


def answered(host: Letters | None = None, windows: int = 4, size: int = 40) -> Windows:
    plain = TextSettings(source="answers", windows=windows, seed=5)
    settings = plain.model_copy(update={"conversation_tokens": size})  # shorter ones than files may
    return converse(RECIPE, settings, host or Letters(), FACTS)  # type: ignore[arg-type]


def test_only_what_the_model_said_is_scored() -> None:
    windows = answered()

    assert windows.first == 0
    assert windows.ids.shape == (4, 40)
    said = np.isin(windows.ids[:, 1:], (LETTER, END))
    assert (windows.scored == said).all()
    assert 0 < windows.scored.sum() < windows.scored.size


def test_prompts_and_answers_take_turns_until_the_window_is_full() -> None:
    (first, *_) = answered().ids.tolist()

    answer = [LETTER, LETTER, LETTER, END]
    told = [[BOS, *name.encode(), *answer] for name in ("a0", "b0", "a1", "b1", "a2", "b2")]
    assert first == [token for turn in told for token in turn][:40]


def test_slices_take_turns_within_windows_and_between_them() -> None:
    windows = answered()

    assert windows.slices == ("a", "b")
    assert windows.topics is not None
    assert ((windows.topics == -1) == ~windows.scored).all()
    of_first_answers = [row[row >= 0][0] for row in windows.topics]
    assert of_first_answers == [0, 1, 0, 1]
    shares = Counter(windows.pick(windows.topics).tolist())
    assert shares[0] == pytest.approx(shares[1], rel=0.2)
    for row, ids in zip(windows.topics, windows.ids[:, 1:], strict=True):
        letter = None
        for topic, token in zip(row.tolist(), ids.tolist(), strict=True):
            letter = chr(token) if chr(token) in "ab" else letter
            assert topic == -1 or windows.slices[topic] == letter


def test_a_window_is_one_cluster() -> None:
    windows = answered()

    assert windows.clustered_by == "conversation"
    assert windows.owners.tolist() == sorted(windows.owners.tolist())
    assert set(windows.owners.tolist()) == {0, 1, 2, 3}
    assert (windows.owners == windows.numbers).all()


def test_an_answer_that_does_not_end_is_ended_at_a_quarter_of_the_window() -> None:
    host = Letters()
    answered(host, size=64)
    assert host.asked.answer_tokens == 16


def test_a_prompt_that_is_too_long_is_left_out_and_where_all_are_each_is_cut() -> None:
    assert BOS in answered(size=16).ids[:, 0]
    assert answered(size=8).scored.any()  # two tokens are left of each prompt


def test_the_same_recipe_is_asked_with_its_own_seed_and_heat() -> None:
    host = Letters()

    answered(host)

    assert host.asked.seed == 5
    assert host.asked.heat == Heat()


def test_the_text_knows_what_was_scored() -> None:
    text = Text(name=RECIPE.name, digest=RECIPE.digest(), documents=None, recipe=RECIPE)
    settings = TextSettings(source="answers", windows=4, conversation_tokens=64, seed=5)

    windows = cut_windows(text, settings, Letters(), FACTS)  # type: ignore[arg-type]
    told = describe(text, windows)

    assert told["name"] == "the reference's answers, seed 5"
    assert told["sampled"] == "temperature 1, top_k 0, top_p 1, min_p 0"
    assert told["scored_tokens"] == windows.scored.sum()
    assert (told["clusters"], told["clustered_by"]) == (4, "conversation")
    assert told["asked"] == "8 prompts, continued as plain text"


def test_what_changes_the_text_changes_its_digest() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"seed": 6},
        {"heat": SERVED},
        {"prompts": ASKED[:-1]},
        {"reference": discover([model_directory()])[0]},
    ]
    digests = {dataclasses.replace(RECIPE, **change).digest() for change in changes}
    assert len(digests) == len(changes)


# What the reference knows


class Knowing(Letters):
    """Reads well what begins with one of these letters."""

    def __init__(self, letters: str) -> None:
        super().__init__()
        self.letters = letters

    def call(self, verb: str, request: object) -> Any:
        if verb != "score_spans":
            return super().call(verb, request)
        known = (chr(span.ids[1]) in self.letters for span in cast("Any", request))
        nats = [1.0 if is_known else 9.0 for is_known in known]
        return scores(list(zip(cast("Any", request), nats, strict=True)))


def many(*slices: str) -> tuple[Asked, ...]:
    return tuple(Asked(slice=one, prompt=f"{one}{at:02}") for at in range(20) for one in slices)


@pytest.mark.parametrize(
    ("letters", "asked"),
    [
        ("abc", ("a", "b")),
        ("ac", ("a",)),
        ("c", ("c",)),
        ("", ("a", "b")),
    ],
    ids=["knows all", "knows some", "knows what is asked besides", "knows nothing"],
)
def test_what_the_reference_does_not_know_is_not_asked(
    letters: str, asked: tuple[str, ...]
) -> None:
    recipe = dataclasses.replace(RECIPE, prompts=many("a", "b"), more=many("c"))
    settings = TextSettings(source="answers", windows=4, conversation_tokens=40)

    windows = converse(recipe, settings, Knowing(letters), FACTS)  # type: ignore[arg-type]

    assert windows.slices == asked


# An extension


def test_more_of_a_text_is_of_prompts_that_were_not_asked_before() -> None:
    recipe = dataclasses.replace(
        RECIPE,
        prompts=many("a", "b"),
        fresh=tuple(Asked(slice="a", prompt=f"c{at}") for at in range(9)),
    )
    settings = TextSettings(source="answers", windows=4, conversation_tokens=40)
    first, more = (Knowing("abc"), Knowing("abc"))

    converse(recipe, settings, first, FACTS)  # type: ignore[arg-type]
    again = converse(recipe, settings, more, FACTS, first_round=1)  # type: ignore[arg-type]

    assert {letters(first, 0), letters(first, 1)} == {"ab"}
    # of a slice in which nothing is left, what was asked
    assert again.slices == ("a", "b")
    assert {letters(more, 0), letters(more, 1)} == {"bc"}
    assert more.asked.seed != first.asked.seed


def letters(host: Letters, window: int) -> str:
    """How the prompts of a window begin."""
    begins = {
        chr(next(token for token in turn if token != BOS)) for turn in host.asked.turns[window]
    }
    return "".join(sorted(begins))


def test_a_text_of_which_too_few_prompts_are_left_has_no_more() -> None:
    recipe = dataclasses.replace(RECIPE, prompts=many("a", "b"), fresh=many("c")[:3])
    settings = TextSettings(source="answers", windows=4, conversation_tokens=40)
    with pytest.raises(NotApplicable) as told:
        converse(recipe, settings, Knowing("abc"), FACTS, first_round=1)  # type: ignore[arg-type]
    assert str(told.value) == ("text: no more of it: got 3 prompts that were not asked; expected 4")


# A model that says little


def test_who_says_little_has_up_to_four_times_as_many_conversations() -> None:
    settings = TextSettings(source="answers", windows=4, conversation_tokens=64)
    talks, answers = (
        converse(RECIPE, settings, Letters(an_answer=letters), FACTS)  # type: ignore[arg-type]
        for letters in (15, 0)
    )

    assert len(talks.ids) == 4
    assert talks.scored.sum() >= 4 * 64 // 2
    assert 8 <= len(answers.ids) <= 16
    assert answers.scored.sum() >= 2 * answers.scored[:4].sum()
    assert answers.asked == talks.asked


# Room for what a template puts before the first prompt


@pytest.mark.parametrize(
    ("before", "settings", "context", "tokens"),
    [
        (0, {}, 512, 64),
        (16, {}, 512, 64),  # as much as a turn, for which there is room anyhow
        (40, {}, 512, 88),
        (80, {}, 512, 128),
        (400, {}, 512, 128),  # no longer than a window of any other text
        (40, {}, 80, 80),  # nor than the model can
        (40, {"window_tokens": 32}, 512, 64),
        (40, {"conversation_tokens": 96}, 80, 80),
    ],
)
def test_a_long_beginning_of_a_template_makes_windows_longer_and_no_answer(
    tmp_path: Path, before: int, settings: dict[str, int], context: int, tokens: int
) -> None:
    given = {"windows": 4, "window_tokens": 128, "conversation_tokens": 64, **settings}
    template = f"{'S' * before}{{% for m in messages %}}[{{{{ m.content }}}}]{{% endfor %}}"
    reference = directory(tmp_path, chat_template__jinja=template)
    host = Letters()

    windows = converse(
        dataclasses.replace(RECIPE, reference=reference),
        TextSettings(source="answers", **given),  # type: ignore[arg-type]
        host,  # type: ignore[arg-type]
        dataclasses.replace(FACTS, context_length=context),
    )

    assert host.asked.tokens == tokens
    assert windows.ids.shape[1] == tokens
    turn = min(given["conversation_tokens"], context) // 4
    assert host.asked.answer_tokens == turn
    # so much of the template is there as fits beside half of what a conversation has otherwise
    whole = [BOS, *b"S" * before, *b"[a0]"]
    first = windows.ids[0].tolist()
    is_cut = len(whole) > tokens - 2 * turn
    assert (first[: len(whole)] != whole) is is_cut
    assert windows.scored[:, tokens - 2 * turn :].any(axis=1).all()


# How prompts are put to a model


def directory(tmp_path: Path, **files: str) -> Any:
    """A copy of the demo's directory with other small files."""
    for path in model_directory().iterdir():
        target = tmp_path / path.name
        if path.suffix == ".safetensors":
            target.symlink_to(path)
        else:
            target.write_bytes(path.read_bytes())
    for name, text in files.items():
        path = tmp_path / name.replace("__", ".")
        if text:
            path.write_text(text)
        else:
            path.unlink()
    [found] = discover([tmp_path])
    return found


def test_prompts_are_asked_in_the_models_own_chat_frame(tmp_path: Path) -> None:
    framed = frame(["Hi", "Why?"], directory(tmp_path))

    user, assistant = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    assert [
        text.endswith(f"{user}{said}{assistant}")
        for said, text in zip(("Hi", "Why?"), framed.firsts, strict=True)
    ] == [True, True]
    assert framed.follows is not None
    assert framed.follows[1].endswith(f"\n{user}Why?{assistant}")
    assert "Hello" not in framed.follows[1]
    assert "QGATE" not in framed.follows[1]


def test_a_model_without_a_chat_frame_goes_on_with_the_prompt(tmp_path: Path) -> None:
    base = directory(tmp_path, chat_template__jinja="")

    assert frame(["Hi"], base).firsts == ("Hi",)
    assert frame(["Hi"], base).follows is None
    assert frame(["Hi"], None).firsts == ("Hi",)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}",
        "{{ messages.__class__.__mro__ }}",
        "{{ raise_exception('no') }}",
    ],
    ids=["broken", "reaching", "refusing"],
)
def test_a_frame_that_cannot_be_applied_is_left_out_and_said(tmp_path: Path, template: str) -> None:
    framed = frame(["Hi"], directory(tmp_path, chat_template__jinja=template))

    assert framed.firsts == ("Hi",)
    assert framed.how == "continued as plain text: its chat template cannot be applied"


@pytest.mark.alone
def test_a_template_that_counts_for_ever_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qgate.sandbox.chat_rendering._LONGEST_S", 2.0)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

    with pytest.raises(MeasurementError, match="got no text within 2 s"):
        frame(["Hi"], directory(tmp_path, chat_template__jinja=loops))


GENERATION: list[tuple[dict[str, Any], Heat]] = [
    ({"do_sample": True, "temperature": 0.6, "top_p": 0.9}, Heat(temperature=0.6, top_p=0.9)),
    ({"temperature": 0.7, "top_k": 20, "min_p": 0.1}, Heat(temperature=0.7, top_k=20, min_p=0.1)),
    ({"do_sample": False, "temperature": 0.6}, SERVED),
    ({"do_sample": True}, SERVED),
    ({"temperature": 0.0}, SERVED),
    ({"temperature": 0.6, "top_p": 1.5}, SERVED),
    ({"temperature": "hot"}, SERVED),
]


@pytest.mark.parametrize(("config", "heat"), GENERATION)
def test_answers_are_drawn_as_the_models_own_files_want_it(
    tmp_path: Path, config: dict[str, Any], heat: Heat
) -> None:
    reference = directory(tmp_path, generation_config__json=json.dumps(config))

    assert find_recipe(TextSettings(), reference).heat == heat
