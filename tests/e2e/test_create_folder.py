"""`olla create` of a folder in Hugging Face's layout, from the command line to the answer."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import serving
from tests.support.spark_checkpoint import write_spark

QUESTION = "What is the capital of France?"


def test_a_folder_without_a_modelfile_becomes_a_model_that_answers(tmp_path: Path) -> None:
    write_spark(tmp_path / "spark-hf")
    with serving(tmp_path) as served:
        made = served.run("create", "converted", cwd=tmp_path / "spark-hf")
        assert (made.returncode, made.stderr.splitlines()[-1]) == (0, "success")
        assert "converting model" in made.stderr
        small = served.run("create", "small", "-q", "q8_0", cwd=tmp_path / "spark-hf")
        assert small.returncode == 0
        assert "quantizing F16 model to Q8_0" in small.stderr.splitlines()
        listed = served.run("list").stdout
        assert "converted:latest" in listed
        answers = [
            served.run("run", model, "--hidethinking", QUESTION).stdout for model in ("converted", "small")
        ]
        assert all("Paris" in answer for answer in answers), answers
        assert served.run("fsck").stdout == "The store is whole.\n"
