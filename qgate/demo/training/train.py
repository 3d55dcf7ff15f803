"""Train the demo model on its generated corpus: ``python -m qgate.demo.training.train --out DIR``.

Muon for the matrices, AdamW for the rest, bfloat16 arithmetic on the CPU, a learning rate that
stays and then falls to zero with the wall clock, so that a run ends when it was told to.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.demo.corpus.items import TASKS, make_item
from qgate.demo.corpus.mixture import FIRST_SHARES, SHARES, documents
from qgate.demo.training import checkpoint, tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from qgate.demo.corpus.document import Item

SCENE_WEIGHT = 0.1
SCENE_SHARE = 0.25
"""Weight of a token that need not follow from what was said, and share of them looked at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train."""

    minutes: float
    rows: int
    rate: float
    seed: int
    falling: float = 0.4
    """Last part of the time, in which the learning rate falls to zero."""
    early: float = 0.45
    """First part of the time: short rows, whose documents do not see each other."""
    short: int = 4
    """How many short rows make a row of one context."""


class Encoder:
    """Encodes documents and packs them into rows of one context."""

    def __init__(self, trained: Any, context: int) -> None:  # noqa: ANN401
        self.tokenizer = trained
        self.context = context
        self.bos = trained.token_to_id(tokenizer.BOS)
        self.eos = trained.token_to_id(tokenizer.EOS)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text without a begin of text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def length(self, text: str) -> int:
        return len(self.encode(text))

    def rows(
        self, seed: int, shares: dict[str, float], context: int
    ) -> Iterator[tuple[list[int], list[float]]]:
        """Yield ids and the weight of each as a target, a context and one token at a time."""
        ids: list[int] = []
        weights: list[float] = []
        size = context + 1
        for document in documents(seed, "train", self.length, shares):
            new, weight = [self.bos], [SCENE_WEIGHT]
            for number, piece in enumerate(document.pieces):
                encoded = self.encode(piece)
                new += encoded
                weight += _weights(number, len(encoded))
            new.append(self.eos)
            weight += _weights(len(document.pieces), 1)
            if len(ids) + len(new) > size and len(ids) >= size - 40:
                filled = ids + new, weights + weight
                yield filled[0][:size], filled[1][:size]
                ids, weights = [], []
            elif len(ids) + len(new) > size and len(ids) > 40 and len(new) > size // 2:
                yield (ids + new)[:size], (weights + weight)[:size]
                ids, weights = new[:size], weight[:size]
                continue
            ids, weights = ids + new, weights + weight
            if len(ids) >= size:
                yield ids[:size], weights[:size]
                ids, weights = [], []


def _weights(number: int, tokens: int) -> list[float]:
    """Weights of a piece's tokens; that an answer ends is as much a part of it as its words."""
    if number % 2:
        return [1.0] * tokens
    return [1.0 if number and not at else SCENE_WEIGHT for at in range(tokens)]


def rate_at(share: float, plan: Plan) -> float:
    """Return the factor on the learning rate after a share of the time."""
    warm = min(1.0, share / 0.02 + 0.05)
    return warm * min(1.0, max(0.0, (1.0 - share) / plan.falling))


def check(
    model: Any,  # noqa: ANN401 - transformers' model
    items: dict[str, list[Item]],
    encoder: Encoder,
) -> dict[str, float]:
    """Return the accuracy per task: every answer token is the most likely one, and then an end."""
    import torch

    ends = {encoder.eos, *encoder.encode("\n")}
    scores: dict[str, float] = {}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for task, asked in items.items():
            right = 0
            for group in (asked[n : n + 32] for n in range(0, len(asked), 32)):
                prompts = [[encoder.bos, *encoder.encode(item.prompt)] for item in group]
                answers = [encoder.encode(item.answer) for item in group]
                longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
                rows = [p + a for p, a in zip(prompts, answers, strict=True)]
                batch = torch.tensor([row + [encoder.eos] * (longest - len(row)) for row in rows])
                best = model(batch, use_cache=False).logits.argmax(-1).tolist()
                for row, prompt, answer in zip(best, prompts, answers, strict=True):
                    given = row[len(prompt) - 1 : len(prompt) + len(answer)]
                    right += given[:-1] == answer and given[-1] in ends
            scores[task] = right / len(asked)
    return scores


def visible(ids: Tensor, bos: int, alone: int) -> Tensor:
    """Return what to add to attention scores, shape (rows, 1, time, time).

    Each token sees what came before it; in the first `alone` rows only in its own document.
    """
    import torch

    time_ = ids.shape[1]
    document = (ids == bos).cumsum(1)
    document[alone:] = 0
    same = document[:, :, None] == document[:, None, :]
    seen = same & torch.ones(time_, time_, dtype=torch.bool).tril()
    return torch.where(seen, 0.0, -1e9).to(torch.bfloat16)[:, None]


def loss_of(
    model: Any,  # noqa: ANN401 - transformers' model
    batch: list[tuple[list[int], list[float]]],
    bos: int,
    alone: int,
) -> Tensor:
    """Return the weighted mean negative log-likelihood of a batch, nats."""
    import torch
    from torch.nn import functional

    ids = torch.tensor([row[0] for row in batch])
    weights = torch.tensor([row[1] for row in batch])[:, 1:]
    scene = weights < 1.0
    keep = ~scene | (torch.rand(weights.shape) < SCENE_SHARE)
    weights = torch.where(scene, weights / SCENE_SHARE, weights)[keep]
    with torch.autocast("cpu", torch.bfloat16):
        mask = visible(ids[:, :-1], bos, alone)
        seen = model.model(ids[:, :-1], attention_mask=mask, use_cache=False).last_hidden_state
        logits = model.lm_head(seen[keep])
    nll = functional.cross_entropy(logits.float(), ids[:, 1:][keep], reduction="none")
    return (nll * weights).sum() / weights.sum()


def optimizers(model: Any, plan: Plan) -> list[Any]:  # noqa: ANN401 - transformers' model
    """Return Muon for the layers' matrices and AdamW for embeddings and norms."""
    import torch

    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=plan.rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=plan.rate * 0.15, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def run(model: Any, encoder: Encoder, plan: Plan, out: Path) -> None:  # noqa: ANN401
    """Train until the time is over, saving the model and its numbers every few minutes."""
    import torch

    parts = optimizers(model, plan)
    first = [part.param_groups[0]["lr"] for part in parts]
    stream = encoder.rows(plan.seed, FIRST_SHARES, encoder.context // plan.short)
    many = plan.rows * plan.short
    dice = random.Random(plan.seed)  # noqa: S311 - questions, not secrets
    items = {task: [make_item(task, dice, encoder.length) for _ in range(24)] for task in TASKS}
    begin = saved = time.monotonic()
    step = tokens = 0
    early = True
    while (share := (time.monotonic() - begin) / (plan.minutes * 60)) < 1.0:
        if early and share >= plan.early:
            stream, early = encoder.rows(plan.seed + 1, SHARES, encoder.context), False
        for part, rate in zip(parts, first, strict=True):
            part.param_groups[0]["lr"] = rate * rate_at(share, plan)
        count, alone = (many, many) if early else (plan.rows, plan.rows // 2)
        loss = loss_of(model, list(islice(stream, count)), encoder.bos, alone)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for part in parts:
            part.step()
            part.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + plan.rows * encoder.context
        if step % 20 == 0:
            _say(step=step, tokens=tokens, share=round(share, 4), loss=round(loss.item(), 4))
        if time.monotonic() - saved > 300:
            saved = time.monotonic()
            checkpoint.save_weights(model, out)
            _say(step=step, tokens=tokens, **check(model, items, encoder))
    checkpoint.save_weights(model, out)
    minutes = round((time.monotonic() - begin) / 60, 1)
    record = {"steps": step, "tokens": tokens, "minutes": minutes, **asdict(plan)}
    (out / "training.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    _say(**record, **check(model, items, encoder))


def _say(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main() -> int:
    import torch

    parser = argparse.ArgumentParser(prog="python -m qgate.demo.training.train")
    parser.add_argument("--out", type=Path, required=True, help="Directory for the model files")
    parser.add_argument("--start", type=Path, help="Directory of a model to go on from")
    parser.add_argument("--minutes", type=float, default=55.0, help="Wall time of the training")
    parser.add_argument("--rows", type=int, default=8, help="Rows of one context in a step")
    parser.add_argument("--rate", type=float, default=0.02, help="Learning rate of Muon")
    parser.add_argument("--early", type=float, default=0.45, help="Share of time for short rows")
    parser.add_argument("--falling", type=float, default=0.4, help="Share of time to slow down in")
    parser.add_argument("--seed", type=int, default=1, help="Seed of weights and documents")
    asked = parser.parse_args()
    plan = Plan(asked.minutes, asked.rows, asked.rate, asked.seed, asked.falling, asked.early)
    torch.manual_seed(plan.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    trained = tokenizer.load(asked.start) if asked.start else tokenizer.train()
    encoder = Encoder(trained, checkpoint.CONTEXT)
    model = checkpoint.load(asked.start) if asked.start else checkpoint.untrained()
    tokenizer.save(trained, asked.out, checkpoint.CONTEXT)
    checkpoint.save_settings(trained, asked.out)
    run(model, encoder, plan, asked.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
