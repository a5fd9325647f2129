"""What guessing tokens ahead does for a text that is written again, and for one that is not.

    python bench/rewrite.py --model chain-1b.gguf [--rounds 3] [--only "free text"] [--seconds 200] [--spark]
    python bench/rewrite.py --model chain-1b.gguf --draft chain-60m.gguf --only "free text"

Takes a model of `chain_model.py`, whose greedy answers are known. The prompt holds a text of 400 tokens, and
the answer is that text, once as it stands there and once with another word at each 25th place. The third
answer is not in the prompt, but at every 12th place three words of it are, followed by others: more chances
for a wrong guess than prose has. `--spark` adds prose by the bundled model. olla is asked with guesses and
without, in turn. With `--draft` a draft model guesses, too: one of the same chains is always right, and one
with a share of errors is not. No round begins that would end after `--seconds`, and the table is that of the
others.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from chain_model import chain
from peers import Answer, Figures, Olla, arguments, print_table, rounds_of

N_TOKENS = 400
CHANGED_EVERY = 25
MISLED_EVERY = 12
SPARK = Path(__file__).parents[1] / "server" / "bundled" / "spark.gguf"
PROSE = "Once upon a time there was a little girl who lived in a small house near the forest."


def prompts() -> dict[str, str]:
    """By what is asked for. All end with the letter that the answer's chain begins with."""
    text, others = chain("a", N_TOKENS), chain("c", N_TOKENS)
    changed = [
        other if index % CHANGED_EVERY == CHANGED_EVERY - 1 else word
        for index, (word, other) in enumerate(zip(text, others, strict=True))
    ]
    misleading = [
        word
        for start in range(0, N_TOKENS - 4, MISLED_EVERY)
        for word in (*text[start : start + 3], *others[start + 3 : start + MISLED_EVERY])
    ]
    return {
        "rewrite": "".join(text) + "a",
        "rewrite with changes": "".join(changed) + "a",
        "free text": "".join(misleading) + "a",
    }


def checked(answer: Answer) -> float:
    expected = "".join(chain("a", N_TOKENS))
    if not (len(answer.text) > 100 and expected.startswith(answer.text)):
        raise SystemExit(f"the answer is another one: {answer.text[:200]!r}")
    return answer.tokens_per_s


def measure(olla: Olla, names: Sequence[str], n_tokens: int, drafts: bool) -> Figures:
    options = {} if drafts else {"draft_num_predict": 0}
    figures: Figures = {}
    for name in names:
        figures[f"{name}, tok/s"] = checked(olla.ask(prompts()[name], n_tokens, **options))
        print(f"    {name}{'' if drafts else ', without'}: {figures[f'{name}, tok/s']:.4g} tok/s", flush=True)
    return figures


def measure_prose(olla: Olla, n_tokens: int, drafts: bool) -> Figures:
    options = {"temperature": 0.8, "seed": 1} | ({} if drafts else {"draft_num_predict": 0})
    return {"prose, tok/s": olla.ask(PROSE, n_tokens, **options).tokens_per_s}


def compare(title: str, measures: dict[str, Callable[[], Figures]], n_rounds: int, until_s: float) -> None:
    rounds = rounds_of(measures, n_rounds, title=title, until_s=until_s)
    if not rounds:
        raise SystemExit(f"{title}: there was no time for a round that counts")
    print_table(title, rounds)


def main() -> None:
    parser = arguments(__doc__, n_rounds=3)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--tokens", type=int, default=N_TOKENS, help="tokens of the answer")
    parser.add_argument("--spark", action="store_true", help="prose by the bundled model, too")
    parser.add_argument("--draft", type=Path, help="a draft model for --model")
    parser.add_argument("--only", choices=list(prompts()), action="append", help="this answer alone")
    parser.add_argument("--seconds", type=float, default=600.0, help="no round begins that would end later")
    args = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended before its time")
    )  # so that its server ends, too
    until_s = time.monotonic() + args.seconds
    if args.model:
        names = args.only or list(prompts())
        with Olla(args.model, drafts=True, n_slots=1, draft=args.draft) as olla:
            measures: dict[str, Callable[[], Figures]] = {
                "with guesses": partial(measure, olla, names, args.tokens, True),
                "without": partial(measure, olla, names, args.tokens, False),
            }
            compare(args.model.stem, measures, args.rounds, until_s)
    if args.spark:
        with Olla(SPARK, drafts=True, n_slots=1) as olla:
            measures = {
                "with guesses": partial(measure_prose, olla, 1000, True),
                "without": partial(measure_prose, olla, 1000, False),
            }
            compare("spark", measures, args.rounds, until_s)


if __name__ == "__main__":
    main()
