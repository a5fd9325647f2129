"""Writes models that are made for tests into a folder; runs in olla's environment, not in the clients'."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.support.plain_model import plain_model
from tests.support.vision_models import write_vision_model

EYES_TEMPLATE = (
    "{%- for m in messages -%}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{%- endfor -%}<|im_start|>"
)


def main() -> None:
    folder = Path(sys.argv[1])
    shutil.copyfile(plain_model(), folder / "plain.gguf")
    eyes = write_vision_model(folder, "llava", chat_template=EYES_TEMPLATE)
    eyes.text.rename(folder / "eyes.gguf")
    eyes.projector.rename(folder / "eyes-mmproj.gguf")


if __name__ == "__main__":
    main()
