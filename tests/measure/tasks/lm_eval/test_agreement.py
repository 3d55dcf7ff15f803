"""Whether a child of the gate answers lm-eval as lm-eval's own `hf` model does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.demo.__main__ import model_directory
from qgate.measure.tasks.lm_eval.probe import HarnessTask
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import load_task
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.requests import Pair
from qgate.sandbox.chat import Chat
from tests.conftest import ROOT
from tests.measure.tasks.lm_eval.conftest import CHOICES, GENERATED, Side
from tests.measure.tasks.lm_eval.harness_model import make_model
from tests.support.stories260k import STORIES, needs_stories

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# lm-eval's and transformers' own
pytestmark = pytest.mark.filterwarnings("ignore")
SHIPPED = ROOT / "thresholds" / "tasks"
COUNT = 24
ROUNDING_NATS = 1e-6
"""Of one logit near 16 in lm-eval's 32 bits; some choices are so likely that it shows."""


def rows(name: str, count: int = COUNT) -> list[dict[str, Any]]:
    lines = (SHIPPED / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines[:count]]


@pytest.fixture(scope="module")
def hf_model() -> Any:
    return load_hf_model(model_directory())


def load_hf_model(path: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(path), device="cpu", dtype="float32", batch_size=1)


def make_requests(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=one, idx=0, metadata=("made", number, 1))
        for number, one in enumerate(arguments)
    ]


def evaluate(model: Any, directory: Path, name: str) -> dict[str, Any]:
    """What lm-eval itself makes of a model."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(directory), include_defaults=False)
    found: dict[str, Any] = simple_evaluate(
        model, tasks=[name], task_manager=manager, bootstrap_iters=0
    )
    return found


def test_multiple_choice_is_answered_as_by_lm_evals_hf_model(
    write_task: Callable[..., Path], transformers_side: Side, hf_model: Any
) -> None:
    directory = write_task("chosen", CHOICES, rows("classification"))
    model = make_model(transformers_side.ask, transformers_side.tokenizer)

    ours, theirs = (
        evaluate(one, directory, "chosen")["samples"]["chosen"] for one in (model, hf_model)
    )

    assert len(ours) == len(theirs) == COUNT
    for own, other in zip(ours, theirs, strict=True):
        assert (own["acc"], own["acc_norm"]) == (other["acc"], other["acc_norm"])
        for (own_nats, own_top), (nats, top) in zip(
            own["filtered_resps"], other["filtered_resps"], strict=True
        ):
            assert own_nats == pytest.approx(nats, rel=1e-4, abs=ROUNDING_NATS)
            assert own_top == top
    assert sum(one["acc"] for one in ours) > COUNT / 2


def test_generated_answers_are_those_of_lm_evals_hf_model(
    write_task: Callable[..., Path], transformers_side: Side, hf_model: Any
) -> None:
    directory = write_task("generated", GENERATED, rows("arithmetic"), num_fewshot=2)
    model = make_model(transformers_side.ask, transformers_side.tokenizer)

    ours, theirs = (
        evaluate(one, directory, "generated")["samples"]["generated"] for one in (model, hf_model)
    )

    assert [one["arguments"] for one in ours] == [one["arguments"] for one in theirs]
    assert [one["resps"] for one in ours] == [one["resps"] for one in theirs]
    assert [one["exact_match"] for one in ours] == [one["exact_match"] for one in theirs]
    assert sum(one["exact_match"] for one in ours) > COUNT / 2


def test_the_probe_grades_as_lm_eval_does(
    write_task: Callable[..., Path], transformers_side: Side, hf_model: Any
) -> None:
    """The gate's way: work first, answers later, few-shot examples by lm-eval's seed."""
    directory = write_task("generated", GENERATED, rows("arithmetic"), num_fewshot=2)
    theirs = evaluate(hf_model, directory, "generated")["samples"]["generated"]

    loaded = load_task(HarnessSettings(name="generated", include_path=directory))
    probe = HarnessTask(check="accuracy.x", loaded=loaded, min_reference=0)
    work = probe.work(transformers_side.tokenizer)
    outcome = transformers_side.ask(work)
    found = probe.read(Pair(work=work, reference=outcome, artifact=outcome))

    assert isinstance(found, PairedAnswers)
    assert found.artifact.tolist() == [one["exact_match"] == 1 for one in theirs]
    assert found.artifact_texts == tuple(one["resps"][0][0] for one in theirs)
    assert found.prompts == tuple(one["arguments"][0][0] for one in theirs)


LONG = "Once upon a time there was a dog. "
PAIRS = [
    ("Once upon a time", " there was"),
    ("Once upon a time ", "there was a"),
    ("Lily saw a ca", "t."),
    ("Hello\n", "World"),
    (LONG * 200, "It was red."),
    ("", "Once upon"),
    ("  ", " x"),
]
PROMPTS = [("Once upon a time", ["."]), (LONG * 200, ["dog"]), ("One day, a", []), ("Lily ", ["z"])]


def compare(side: Side, hf_model: Any) -> None:
    model = make_model(side.ask, side.tokenizer)
    begin = hf_model.tokenizer.decode(hf_model.prefix_token_id)
    pairs = make_requests("loglikelihood", [*PAIRS, (f"{begin}One", " day"), ("", f"{begin}One")])
    for own, other in zip(
        model.loglikelihood(pairs), hf_model.loglikelihood(pairs, disable_tqdm=True), strict=True
    ):
        assert own == (pytest.approx(other[0], rel=1e-4, abs=ROUNDING_NATS), other[1])
    texts = make_requests(
        "loglikelihood_rolling", [(LONG,), (LONG * 60,), ("a",), (f"{begin}One day",)]
    )
    for own, other in zip(
        model.loglikelihood_rolling(texts),
        hf_model.loglikelihood_rolling(texts, disable_tqdm=True),
        strict=True,
    ):
        assert own == pytest.approx(other, rel=1e-4)
    prompts = make_requests(
        "generate_until",
        [
            (text, {"until": until, "max_gen_toks": 16, "do_sample": False})
            for text, until in [*PROMPTS, (f"{begin}One", ["."])]
        ],
    )
    assert model.generate_until(prompts) == hf_model.generate_until(prompts, disable_tqdm=True)


def test_awkward_texts_are_taken_apart_as_by_lm_eval(
    transformers_side: Side, hf_model: Any
) -> None:
    """Spaces at the end, nothing before, a begin-of-text spelled out, more than the context."""
    compare(transformers_side, hf_model)


@needs_stories
def test_a_tokenizer_that_puts_a_space_first_agrees_too() -> None:
    with Host(HostSettings(runtime="transformers")) as host:
        compare(Side(host, STORIES / "hf"), load_hf_model(STORIES / "hf"))


@pytest.mark.parametrize(
    ("config", "name"), [(CHOICES, "classification"), (GENERATED, "arithmetic")]
)
def test_llama_cpp_answers_the_same_requests(
    write_task: Callable[..., Path],
    transformers_side: Side,
    llama_side: Side,
    config: dict[str, Any],
    name: str,
) -> None:
    """One piece of work, made with one child's tokenizer and asked of the other, as the gate does:
    the weights are the same 16 bits, the arithmetic is not."""
    loaded = load_task(
        HarnessSettings(name=name, include_path=write_task(name, config, rows(name)))
    )
    probe = HarnessTask(check="accuracy.x", loaded=loaded, min_reference=0)
    work = probe.work(llama_side.tokenizer)

    assert work.digest() == probe.work(transformers_side.tokenizer).digest()
    found = probe.read(
        Pair(work=work, reference=transformers_side.ask(work), artifact=llama_side.ask(work))
    )

    assert isinstance(found, PairedAnswers)
    assert (found.artifact == found.reference).mean() > 0.9
    assert found.artifact.mean() > 0.6


def test_llama_cpp_scores_documents_longer_than_its_context(
    llama_side: Side, hf_model: Any
) -> None:
    texts = make_requests("loglikelihood_rolling", [(LONG * 60,)])

    [own] = make_model(llama_side.ask, llama_side.tokenizer).loglikelihood_rolling(texts)

    assert own == pytest.approx(
        hf_model.loglikelihood_rolling(texts, disable_tqdm=True)[0], rel=1e-2
    )


@pytest.mark.parametrize("adds_prompt", [True, False])
def test_a_chat_is_rendered_as_by_transformers(hf_model: Any, adds_prompt: bool) -> None:
    tokenizer = hf_model.tokenizer
    chat = Chat(
        template=(model_directory() / "chat_template.jinja").read_text("utf-8"),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
    )
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "2 + 2 = "},
        {"role": "assistant", "content": "It is "},
    ][: 2 if adds_prompt else 3]

    assert chat.render(messages, adds_prompt=adds_prompt) == hf_model.apply_chat_template(
        messages, add_generation_prompt=adds_prompt
    )
