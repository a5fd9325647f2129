"""From a Modelfile to a request and the files to upload."""

from __future__ import annotations

from pathlib import Path

import pytest

from olla_tui.cli.create import read_modelfile, request_of_folder
from olla_tui.cli.modelfile_request import named
from server.errors import InvalidModelfile, InvalidOption

TEXT = """\
# a comment
FROM plain
PARAMETER temperature 0
PARAMETER stop zzz
PARAMETER stop yyy
PARAMETER low_vram true
SYSTEM \"\"\"
Talk like a pirate.
\"\"\"
TEMPLATE {{ .Prompt }}
MESSAGE user Hi
MESSAGE assistant Arr!
LICENSE MIT
REQUIRES v0.14.0
"""


def modelfile(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "Modelfile"
    path.write_text(text)
    return path


def test_a_whole_modelfile(tmp_path: Path) -> None:
    request, files = read_modelfile(modelfile(tmp_path, TEXT))
    assert request.base == "plain"
    assert request.parameters == {"temperature": 0.0, "stop": ["zzz", "yyy"]}
    assert (request.system, request.template) == ("\nTalk like a pirate.\n", "{{ .Prompt }}")
    assert [(message.role, message.content) for message in request.messages] == [
        ("user", "Hi"),
        ("assistant", "Arr!"),
    ]
    assert (request.licenses, request.requires) == (("MIT",), "0.14.0")
    assert files == ({}, {}, {}, ("parameter low_vram is deprecated",), "")


def test_files_are_found_beside_the_modelfile(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf", "lora.gguf", "draft.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    request, files = read_modelfile(
        modelfile(tmp_path, "FROM ./a.gguf\nFROM b.gguf\nADAPTER lora.gguf\nDRAFT ./draft.gguf\n")
    )
    assert request.base == ""
    assert files.models == {"a.gguf": tmp_path / "a.gguf", "b.gguf": tmp_path / "b.gguf"}
    assert (list(files.adapters), list(files.drafts)) == (["lora.gguf"], ["draft.gguf"])


def test_a_draft_model_may_be_a_model_of_the_server(tmp_path: Path) -> None:
    _, files = read_modelfile(modelfile(tmp_path, "FROM big\nDRAFT small:1b\n"))
    assert (files.drafts, files.draft_model) == ({}, "small:1b")


def test_a_folder_gives_its_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("y.gguf", "x.gguf", "readme.md"):
        (tmp_path / "model" / name).write_bytes(b"")
    _, files = read_modelfile(modelfile(tmp_path, "FROM ./model\n"))
    assert list(files.models) == ["x.gguf", "y.gguf"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM ./missing.gguf", "missing.gguf: no such file"),
        ("FROM missing.gguf", "missing.gguf: no such file"),
        ("FROM m\nADAPTER lora", "lora: no such file"),
        ("FROM m\nDRAFT ./draft.gguf", "draft.gguf: no such file"),
        ("FROM ./same.gguf\nDRAFT same.gguf", "DRAFT must not reference the same local path as FROM"),
        ("FROM ./empty", "no Modelfile or safetensors files found"),
        ("FROM ./pickles", "holds weights as PyTorch pickles"),
        ("SYSTEM hello", "no FROM line"),
        ("FROM m\nFROBNICATE yes", r"\(line 2\): command must be one of"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "same.gguf").write_bytes(b"GGUF")
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InvalidModelfile, match=message):
        read_modelfile(modelfile(tmp_path, text))


def test_a_wrong_parameter(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="unknown parameter 'nosuch'"):
        read_modelfile(modelfile(tmp_path, "FROM m\nPARAMETER nosuch 1\n"))


def test_no_modelfile(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelfile, match=r"^no Modelfile or safetensors files found$"):
        read_modelfile(tmp_path / "Modelfile")


def test_a_folder_of_safetensors_gives_what_says_what_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    wanted = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "config.json",
        "tokenizer.json",
        "1_Pooling/config.json",
        "chat_template.jinja",
        "tokenizer.model",
    ]
    for name in (*wanted, "README.md", "x.gguf", "consolidated.safetensors", ".cache/x.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}")
    _, files = read_modelfile(modelfile(tmp_path, "FROM ./model\n"))
    assert sorted(files.models) == sorted(wanted)


def test_links_keep_the_names_that_they_have(tmp_path: Path) -> None:
    """As in the cache of Hugging Face's library, whose files are named by digests."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0123").write_bytes(b"GGUF")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "x.gguf").symlink_to("../blobs/0123")
    _, files = read_modelfile(modelfile(tmp_path, "FROM ./snapshot\n"))
    assert list(files.models) == ["x.gguf"]
    _, files = read_modelfile(modelfile(tmp_path, "FROM ./snapshot/x.gguf\n"))
    assert list(files.models) == ["x.gguf"]


def test_a_folder_without_a_modelfile_is_the_model(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    _, files = request_of_folder(tmp_path)
    assert list(files.models) == ["x.gguf"]


def test_names_are_paths_below_what_holds_them_all() -> None:
    files = [Path("/m/a/x.gguf"), Path("/m/b/x.gguf")]
    assert list(named(files)) == ["a/x.gguf", "b/x.gguf"]
    assert list(named(files[:1])) == ["x.gguf"]
