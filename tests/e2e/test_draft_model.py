"""A Modelfile with DRAFT, from the command line to the answer."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import serving
from tests.support.engine_worker import SPARK_F16
from tests.support.noisy_model import write_noisy
from tests.support.rare_models import write_gemma3

QUESTION = {"model": "helped", "prompt": "Tell me a story.", "stream": False, "olla": {"details": True}}
OPTIONS = {"temperature": 0, "num_predict": 40}


def test_a_model_of_the_server_or_a_file_is_the_draft_model(tmp_path: Path) -> None:
    write_noisy(SPARK_F16, tmp_path / "noisy.gguf", 0.2)
    write_gemma3(tmp_path / "other.gguf")
    modelfiles = {
        "small": "FROM ./noisy.gguf",
        "helped": f"FROM {SPARK_F16}\nDRAFT small",
        "refused": f"FROM {SPARK_F16}\nDRAFT ./other.gguf",
    }
    with serving(tmp_path) as served:
        for name, text in modelfiles.items():
            folder = written(tmp_path / f"{name}.txt", text)
            made = served.run("create", name, "-f", f"{name}.txt", cwd=folder)
            assert (made.returncode, made.stderr.splitlines()[-1]) == (0, "success")
        missing = served.run(
            "create", "x", "-f", "lost", cwd=written(tmp_path / "lost", "FROM helped\nDRAFT none")
        )
        assert missing.returncode == 1
        assert "none" in missing.stderr
        shown = served.run("show", "--modelfile", "helped").stdout
        again = served.run("create", "again", "-f", "shown", cwd=written(tmp_path / "shown", shown))
        assert again.returncode == 0, again.stderr
        assert served.run("show", "--modelfile", "again").stdout.count("\nDRAFT ") == 1
        answers = []
        for name, n_draft in (("helped", -1), ("helped", 0), ("refused", -1)):
            options = {**OPTIONS, "draft_num_predict": n_draft}
            body = {**QUESTION, "model": name, "options": options}
            reply = served.client.post("/api/generate", json=body).raise_for_status().json()
            answers.append(reply["response"])
            assert n_draft or "n_drafted_tokens" not in reply["olla"]
        assert len(set(answers)) == 1
        running = {model["name"]: model for model in served.client.get("/olla/status").json()["running"]}
        assert running["helped:latest"]["has_draft_model"]
        assert running["helped:latest"]["draft_refusal"] == ""
        assert not running["refused:latest"]["has_draft_model"]
        assert "its vocabulary has 300 tokens" in running["refused:latest"]["draft_refusal"]
        (part,) = running["helped:latest"]["device_parts"]
        assert (part["device"], part["n_layers"]) == ("CPU", 7)
        assert running["helped:latest"]["n_layers"] == 7
        assert running["helped:latest"]["n_gpu_layers"] == 0
        assert served.run("fsck").stdout == "The store is whole.\n"


def written(path: Path, text: str) -> Path:
    """The folder of a file that now has this text."""
    path.write_text(text)
    return path.parent
