"""The process that converts or quantizes, started by `bbjspec.stages.converter` with one job, as JSON.

It is a script and imports nothing of this package. llama.cpp's messages go to the standard streams as they are; a line
of ours among them says what went wrong. It ends as soon as its standard input does.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from importlib import import_module
from typing import Any


def main() -> None:
    """Do the job of the command line."""
    threading.Thread(target=follow, daemon=True).start()
    job = json.loads(sys.argv[1])
    try:
        {"convert": convert, "quantize": quantize}[job["do"]](job)
    except BaseException as error:
        said = " ".join(str(error).split())[:300]
        print(f"\nbbjspec error: {type(error).__name__}: {said}", flush=True)
        raise SystemExit(1) from None


def follow() -> None:
    """End when whoever started this does."""
    while os.read(0, 1):
        pass
    os._exit(1)


def convert(job: dict[str, Any]) -> None:
    """Run the converter on what transformers saved. Raises whatever it raises."""
    # Before all that is installed: the gguf of the index is older, and lacks names that the converter uses.
    sys.path[:0] = [job["converter"], os.path.join(job["converter"], "gguf-py")]  # noqa: PTH118
    # By name: these are nobody's installed modules, so that there are no types to look up.
    converter, gguf = import_module("convert_hf_to_gguf"), import_module("gguf")
    text_model = import_module("conversion.base").TextModel

    class Told(gguf.Metadata):  # type: ignore[misc, name-defined]
        """What the file says of itself: what it is told, and its size."""

        def set_gguf_meta_model(self, writer: Any) -> None:
            for key, value in job["keys"].items():
                (writer.add_uint32 if isinstance(value, int) else writer.add_string)(key, value)
            if self.size_label is not None:
                writer.add_size_label(self.size_label)

    gguf.Metadata.load = staticmethod(lambda *_, **__: Told(name=job["keys"]["general.name"]))
    if job["embedded"]:
        text_model.get_vocab_base_pre = lambda *_: "qwen2"
    last = LastError()
    logging.getLogger().addHandler(last)
    logging.getLogger().addHandler(logging.StreamHandler())  # its basicConfig does nothing where there is one
    logging.getLogger().setLevel(logging.INFO)
    sys.argv = ["convert_hf_to_gguf.py", job["model"], "--outfile", job["out"], "--outtype", job["type"]]
    try:
        converter.main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(last.text or f"exit code {end.code}") from None


class LastError(logging.Handler):
    """Keeps what an error said for which the converter only exits."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Remember it."""
        if record.levelno >= logging.ERROR:
            self.text = record.getMessage()


def quantize(job: dict[str, Any]) -> None:
    """One type by the installed library. Raises RuntimeError when it says no."""
    import ctypes

    import llama_cpp

    kind = "ALL_F32" if job["type"] == "f32" else f"MOSTLY_{job['type'].upper()}"
    last: list[str] = []

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def say(level: int, text: bytes, _: Any) -> None:
        line = text.decode(errors="replace")
        print(line, end="", flush=True)
        if level == 4:  # GGML_LOG_LEVEL_ERROR
            last.append(line)

    llama_cpp.llama_log_set(say, None)
    choice = llama_cpp.llama_model_quantize_default_params()
    choice.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{kind}")
    choice.nthread = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    if llama_cpp.llama_model_quantize(job["source"].encode(), job["out"].encode(), ctypes.byref(choice)):
        raise RuntimeError(last[-1] if last else "it does not say why")


if __name__ == "__main__":
    main()
