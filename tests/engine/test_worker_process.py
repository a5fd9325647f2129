"""The worker as the server sees it: a process behind two pipes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import psutil
import pytest

from server.ipc.messages import (
    Abort,
    Bye,
    Detokenize,
    Embed,
    Embeddings,
    EngineTimings,
    Failed,
    Finished,
    Load,
    Loaded,
    LoadFailed,
    Shutdown,
    Step,
    Submit,
    Text,
    Tokenize,
    Tokens,
)
from server.types.generation import LoadParams, ModelPaths, SamplingParams
from tests.support.engine_worker import MINILM, SPARK, Worker, worker_process

GREEDY = SamplingParams(temperature=0.0)
ENDLESS = SamplingParams(temperature=0.0, n_predict=100_000, logit_bias=((0, -1e6), (2, -1e6)))


def chat(*turns: str) -> tuple[str, ...]:
    """A ChatML prompt; turns of the user and the assistant alternate."""
    text = ""
    for index, turn in enumerate(turns):
        text += f"<|im_start|>{'assistant' if index % 2 else 'user'}\n{turn}<|im_end|>\n"
    return (text + "<|im_start|>assistant\n",)


def test_greedy_chats_at_once_give_the_known_answers() -> None:
    answers = {
        ("What is the capital of France?",): "The capital of France is Paris.",
        ("My name is Ada.", "Nice to meet you, Ada!", "What is my name?"): "Your name is Ada.",
        ("Say hello in Japanese.",): "こんにちは!",
        ("Show me an emoji.",): "Here you are: 😀🚀🎉",
        ("Who are you?",): (
            "I am Spark, a tiny demo model. I know a little, so pull a larger model for real work."
        ),
        ("Count from 3 to 12.",): "3, 4, 5, 6, 7, 8, 9, 10, 11, 12",
    }
    with worker_process() as worker:
        assert isinstance(worker.load(SPARK, n_slots=3), Loaded)
        for request_id, turns in enumerate(answers):
            worker.send(Submit(request_id=request_id, prompt=chat(*turns), sampling=GREEDY))
        for request_id, answer in enumerate(answers.values()):
            end = worker.wait_for_end(request_id)
            assert isinstance(end, Finished)
            assert end.reason == "stop"
            assert worker.text[request_id] == answer
        assert max(step.stats.n_busy_slots for step in worker.steps) == 3
        assert any(len(step.deltas) == 3 for step in worker.steps)

        # A conversation that goes on finds its beginning in memory.
        worker.send(Submit(request_id=100, prompt=chat("Who are you?"), sampling=GREEDY))
        again = worker.wait_for_end(100)
        assert isinstance(again, Finished)
        assert again.timings.n_cached_tokens == again.timings.n_prompt_tokens - 1
        assert worker.text[100] == answers[("Who are you?",)]


def test_an_abort_ends_a_request_and_leaves_the_others_alone() -> None:
    with worker_process() as worker:
        worker.load(SPARK, n_slots=2)
        worker.send(Submit(request_id=1, prompt=chat("Tell me a story."), sampling=ENDLESS))
        worker.wait_for(Step)
        worker.send(Submit(request_id=2, prompt=chat("What is the capital of France?"), sampling=GREEDY))
        worker.send(Abort(1))
        worker.send(Abort(77))
        first = worker.wait_for_end(1)
        assert isinstance(first, Finished)
        assert first.reason == "cancelled"
        worker.wait_for_end(2)
        assert worker.text[2] == "The capital of France is Paris."


def test_a_request_in_the_queue_can_be_aborted() -> None:
    with worker_process() as worker:
        worker.load(SPARK, n_slots=1)
        for request_id in (1, 2):
            worker.send(Submit(request_id=request_id, prompt=chat("Hi"), sampling=ENDLESS))
        worker.wait_for(Step)
        worker.send(Abort(2))
        queued = worker.wait_for_end(2)
        assert isinstance(queued, Finished)
        assert queued.timings.n_output_tokens == 0
        worker.send(Abort(1))
        worker.wait_for_end(1)


def test_tokenize_and_detokenize_are_answered_while_a_request_runs() -> None:
    with worker_process() as worker:
        worker.load(SPARK, n_slots=1)
        worker.send(Submit(request_id=1, prompt=chat("Hi"), sampling=ENDLESS))
        worker.wait_for(Step)
        worker.send(Tokenize(request_id=2, texts=("<|im_start|>user", "", "déjà 😀")))
        tokens = worker.wait_for(Tokens).tokens
        assert tokens[0][0] == 1
        assert tokens[1] == ()
        worker.send(Detokenize(request_id=3, tokens=tokens[0] + tokens[2]))
        assert worker.wait_for(Text).text == "<|im_start|>userdéjà 😀"
        worker.send(Detokenize(request_id=4, tokens=(999_999,)))
        assert worker.wait_for(Failed).kind == "invalid_request"


def test_the_end_of_stdin_ends_the_worker_at_once() -> None:
    with worker_process() as worker:
        worker.load(SPARK, n_slots=1)
        worker.send(Submit(request_id=1, prompt=chat("Hi"), sampling=ENDLESS))
        worker.wait_for(Step)
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(timeout=5) == 0


def test_the_end_of_stdin_before_a_load_ends_the_worker() -> None:
    with worker_process() as worker:
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(timeout=5) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel signal is Linux's")
def test_a_worker_whose_parent_is_killed_does_not_live_on(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\n"
        "from tests.support.engine_worker import SPARK, worker_process\n"
        "with worker_process() as worker:\n"
        "    worker.load(SPARK)\n"
        "    print(worker.process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    repository = str(Path(__file__).parents[2])
    parent = psutil.Popen(
        [sys.executable, "-P", str(script)], stdout=-1, env={**os.environ, "PYTHONPATH": repository}
    )
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=5)
    parent.stdout.close()
    gone, _ = psutil.wait_procs([worker], timeout=5)
    assert gone


def test_shutdown_lets_a_request_finish_within_its_grace() -> None:
    with worker_process() as worker:
        worker.load(SPARK, n_slots=1)
        worker.send(Submit(request_id=1, prompt=chat("What is the capital of France?"), sampling=GREEDY))
        worker.send(Shutdown(grace_s=30.0))
        end = worker.wait_for_end(1)
        assert isinstance(end, Finished)
        assert end.reason == "stop"
        worker.wait_for(Bye)
        assert worker.receive() is None
        assert worker.process.wait(timeout=5) == 0


def test_shutdown_without_grace_cancels() -> None:
    with worker_process() as worker:
        worker.load(SPARK, n_slots=1)
        worker.send(Submit(request_id=1, prompt=chat("Hi"), sampling=ENDLESS))
        worker.wait_for(Step)
        worker.send(Shutdown())
        end = worker.wait_for_end(1)
        assert isinstance(end, Finished)
        assert end.reason == "cancelled"
        worker.wait_for(Bye)


BROKEN_FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda sound: b"", "is empty"),
    "text": (lambda sound: b"This is no model.", "is not a GGUF"),
    "wild-counts": (lambda sound: b"GGUF" + struct.pack("<IQQ", 3, 2**40, 2**40), "cannot be loaded"),
    "cut-in-header": (lambda sound: sound[:200_000], "cannot be loaded"),
    "cut-in-weights": (lambda sound: sound[:-100_000], "cannot be loaded"),
    "garbage": (lambda sound: sound[:100] + bytes(range(256)) * 400, "cannot be loaded"),
}


@pytest.mark.parametrize("fault", BROKEN_FILES)
def test_a_broken_file_fails_the_load_with_a_sentence(tmp_path: Path, fault: str) -> None:
    spoil, words = BROKEN_FILES[fault]
    path = tmp_path / "model.gguf"
    path.write_bytes(spoil(SPARK.read_bytes()))
    with worker_process() as worker:
        outcome = worker.load(path)
        assert isinstance(outcome, LoadFailed)
        assert outcome.kind == "bad_model_file"
        assert words in outcome.message
        assert worker.receive() is None


def test_a_missing_file_fails_the_load_with_a_sentence(tmp_path: Path) -> None:
    with worker_process() as worker:
        outcome = worker.load(tmp_path / "missing.gguf")
        assert isinstance(outcome, LoadFailed)
        assert outcome.kind == "bad_model_file"
        assert "does not exist" in outcome.message


def test_an_adapter_that_is_none_fails_the_load(tmp_path: Path) -> None:
    copy = tmp_path / "adapter.gguf"
    shutil.copy(SPARK, copy)
    with worker_process() as worker:
        paths = ModelPaths(model=str(SPARK), adapters=(str(copy),))
        worker.send(Load(paths, LoadParams(n_ctx=256, n_gpu_layers=0)))
        outcome = worker.wait_for(LoadFailed)
        assert outcome.kind == "bad_model_file"
        assert "adapter.gguf" in outcome.message


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"n_ctx": 0}, "load_failed", "at least one token"),
        ({"kv_cache_type": "q9_9"}, "load_failed", "KV cache type"),
        ({"kv_cache_type": "q8_0", "flash_attention": False}, "load_failed", "flash attention"),
        ({"n_slots": 257}, "load_failed", "at most 256 slots"),
    ],
)
def test_parameters_that_cannot_be_met_fail_the_load(
    values: dict[str, object], kind: str, words: str
) -> None:
    with worker_process() as worker:
        outcome = worker.load(SPARK, **values)
        assert isinstance(outcome, LoadFailed)
        assert outcome.kind == kind
        assert words in outcome.message


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_a_context_that_does_not_fit_in_memory_is_made_with_fewer_slots() -> None:
    with worker_process() as worker:
        limit = psutil.Process(worker.process.pid).memory_info().vms + 500_000_000
        resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (limit, limit))
        outcome = worker.load(SPARK, n_ctx=2048, n_slots=256)
        assert isinstance(outcome, Loaded)
        assert 1 <= outcome.n_slots < 256
        assert (outcome.n_ctx, outcome.kv_bytes) == (2048, outcome.n_slots * 2048 * 3072)


def test_an_embedding_worker_embeds_and_refuses_to_generate() -> None:
    with worker_process() as worker:
        assert isinstance(worker.load(MINILM, n_ctx=512, embedding=True), Loaded)
        worker.send(Submit(request_id=1, prompt=("hi",), sampling=GREEDY))
        assert worker.wait_for(Failed).kind == "invalid_request"
        worker.send(Embed(request_id=2, inputs=("The sky is blue", "why")))
        answer = worker.wait_for(Embeddings)
        assert answer.n_tokens == (6, 3)
        assert [len(vector) for vector in answer.vectors] == [4 * 384] * 2


def test_an_encoder_cannot_be_loaded_for_generation() -> None:
    with worker_process() as worker:
        outcome = worker.load(MINILM)
        assert isinstance(outcome, LoadFailed)
        assert outcome.kind == "load_failed"


def test_a_generating_worker_refuses_to_embed() -> None:
    with worker_process() as worker:
        worker.load(SPARK)
        worker.send(Embed(request_id=1, inputs=("hi",)))
        failed = worker.wait_for(Failed)
        assert failed.kind == "invalid_request"
        assert "cannot embed" in failed.message


def test_printing_to_stdout_cannot_break_the_frames() -> None:
    with worker_process() as worker:
        assert os.readlink(f"/proc/{worker.process.pid}/fd/1") != os.readlink(
            f"/proc/{os.getpid()}/fd/{worker.process.stdout.fileno()}"  # type: ignore[union-attr]
        )
        worker.load(SPARK)
        assert_timings(worker)


def assert_timings(worker: Worker) -> None:
    worker.send(Submit(request_id=1, prompt=chat("Hi"), sampling=GREEDY))
    end = worker.wait_for_end(1)
    assert isinstance(end, Finished)
    timings: EngineTimings = end.timings
    assert timings.n_output_tokens == len(worker.tokens[1]) + 1  # the token that ended it counts
    assert min(timings.prompt_duration_ns, timings.output_duration_ns) > 0


def test_shutdown_before_a_load_is_answered_with_bye() -> None:
    with worker_process() as worker:
        worker.send(Shutdown())
        worker.wait_for(Bye)
        assert worker.process.wait(timeout=5) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_any_mixture_of_requests_gets_exactly_one_end_each(seed: int) -> None:
    random = Random(seed)
    grammars = ("", "", 'root ::= [a-z ]{1,20} "."', "root ::= (")
    prompts = (chat("Hi"), chat("Tell me a story."), ((7,) * 100,), ((7,) * 300,), ((-1,),))
    with worker_process() as worker:
        worker.load(SPARK, n_ctx=128, n_slots=3, n_batch=64)
        for request_id in range(60):
            sampling = SamplingParams(
                seed=request_id,
                n_predict=random.choice((0, 1, 20, 200)),
                temperature=random.choice((0.0, 0.8)),
                repeat_penalty=random.choice((1.0, 1.2)),
                mirostat=random.choice((0, 0, 0, 2)),
                context_shift=random.choice((True, False)),
                stop=random.choice(((), ("a",), ("e ", "the"))),
                grammar=random.choice(grammars),
                logprobs=random.choice((True, False)),
                n_top_logprobs=2,
            )
            prompt = random.choice(prompts)
            worker.send(Submit(request_id=request_id, prompt=prompt, sampling=sampling))
            if random.random() < 0.3:
                worker.send(Abort(random.randrange(request_id + 1)))
        worker.send(Shutdown(grace_s=60.0))
        worker.wait_for(Bye)
        assert sorted(worker.ends) == list(range(60))
        kinds = {type(end).__name__ for end in worker.ends.values()}
        assert kinds == {"Finished", "Failed"}
        assert worker.process.wait(timeout=5) == 0
