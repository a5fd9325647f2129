"""What guessing tokens ahead does for a text that is written again, and for one that is not.

    python bench/rewrite.py --model chain-1b.gguf [--rounds 3] [--spark]

Takes a model of `chain_model.py`, whose greedy answers are known. The prompt holds a text of 400 tokens, and
the answer is that text, once as it stands there and once with another word at each 25th place. The third
answer is not in the prompt, but at every 12th place three words of it are, followed by others: more chances
for a wrong guess than prose has. `--spark` adds prose by the bundled model. olla is asked with guesses and
without, in turn.
"""

from __future__ import annotations

from collections.abc import Callable
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


def measure(olla: Olla, n_tokens: int, drafts: bool) -> Figures:
    options = {} if drafts else {"draft_num_predict": 0}
    return {
        f"{name}, tok/s": checked(olla.ask(prompt, n_tokens, **options)) for name, prompt in prompts().items()
    }


def measure_prose(olla: Olla, n_tokens: int, drafts: bool) -> Figures:
    options = {"temperature": 0.8, "seed": 1} | ({} if drafts else {"draft_num_predict": 0})
    return {"prose, tok/s": olla.ask(PROSE, n_tokens, **options).tokens_per_s}


def main() -> None:
    parser = arguments(__doc__, n_rounds=3)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--tokens", type=int, default=N_TOKENS, help="tokens of the answer")
    parser.add_argument("--spark", action="store_true", help="prose by the bundled model, too")
    args = parser.parse_args()
    if args.model:
        with Olla(args.model, drafts=True, n_slots=1) as olla:
            measures: dict[str, Callable[[], Figures]] = {
                "with guesses": partial(measure, olla, args.tokens, True),
                "without": partial(measure, olla, args.tokens, False),
            }
            print_table(args.model.stem, rounds_of(measures, args.rounds, title=args.model.stem))
    if args.spark:
        with Olla(SPARK, drafts=True, n_slots=1) as olla:
            measures = {
                "with guesses": partial(measure_prose, olla, 1000, True),
                "without": partial(measure_prose, olla, 1000, False),
            }
            print_table("spark", rounds_of(measures, args.rounds, title="spark"))


if __name__ == "__main__":
    main()
