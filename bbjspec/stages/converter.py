"""llama.cpp's own converter and quantizer: the converter is fetched at set-up, both run in processes of their own.

The converter is no part of the package llama-cpp-python, only of its source archive, and only the one of the very same
version writes what the installed library reads. `python -m bbjspec.stages.converter` fetches that archive through pip
(or takes one by path), checks its SHA-256, and unpacks the 2 MB that are needed below the environment's `share/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from importlib import metadata
from logging import Logger
from pathlib import Path
from typing import Any

from bbjspec.digest import sha256_file
from bbjspec.errors import BbjspecError, EnvironmentLacks, StageFailed
from bbjspec.store import read_json, write_json

# Of llama_cpp_python in requirements.lock, and its source archive's; a test holds the two versions together.
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"

COMMAND = "python -m bbjspec.stages.converter"
RECORD = "files.json"  # the archive's SHA-256, and that of each file
_NEEDED = ("LICENSE", "convert_hf_to_gguf.py", "conversion/", "gguf-py/LICENSE", "gguf-py/gguf/")
_CHILD = Path(__file__).with_name("converter_child.py")
_ERROR = "bbjspec error: "  # before what the child has to say, among all that llama.cpp says


def home() -> Path:
    """Where the converter of `VERSION` belongs."""
    return Path(sys.prefix) / "share" / "bbjspec" / f"llama.cpp-{VERSION}"


def check_library(planned: str) -> None:
    """Raise StageFailed unless llama-cpp-python is here in the version that was planned for, EnvironmentLacks where it
    is not the one whose converter is known."""
    try:
        installed = metadata.version("llama_cpp_python")
    except metadata.PackageNotFoundError:
        installed = "none"
    if installed != planned:
        raise StageFailed(f"planned for llama-cpp-python {planned}, but {installed} is installed; plan again")
    if installed != VERSION:
        raise EnvironmentLacks(
            f"llama-cpp-python {installed} is installed, and the converter that is known here is of {VERSION}; "
            f"run: pip install llama-cpp-python=={VERSION}"
        )


def find() -> Path:
    """The directory of the converter, each file as it was unpacked. Raises EnvironmentLacks with what to run."""
    record = read_json(home() / RECORD)
    if not isinstance(record, dict) or record.get("archive") != SHA256:
        raise EnvironmentLacks(f"llama.cpp's converter of llama-cpp-python {VERSION} is not here; run: {COMMAND}")
    for name, expected in record["files"].items():
        file = home() / name
        if not file.is_file() or sha256_file(file) != expected:
            raise EnvironmentLacks(f"llama.cpp's converter: {name} is not as it was unpacked; run: {COMMAND}")
    return home()


def convert(model: Path, out: Path, outtype: str, keys: Mapping[str, str | int], embedded: bool, log: Logger) -> None:
    """Convert a model as transformers saves it, with its tokenizer, to the GGUF `out`: whole, or not there.

    `outtype` is bf16, f16 or f32. `keys` is all that the file says of itself besides sizes and tokenizer; nothing is
    guessed from the directory's name, a README or a generation_config.json. llama.cpp knows a pre-tokenizer by the
    hash of some token ids, which a vocabulary of our own cannot match: `embedded` says that it is Qwen2's.

    Raises EnvironmentLacks without the converter, StageFailed when it refuses the model.
    """
    job = {"do": "convert", "converter": find(), "model": model, "type": outtype, "keys": keys, "embedded": embedded}
    _run(job, out, f"llama.cpp's converter cannot convert {model.name}", log)


def quantize(source: Path, out: Path, name: str, log: Logger) -> None:
    """Make the GGUF `out` of type `name` (`q4_k_m`) of the bf16 GGUF `source`: whole, or not there. No importance
    matrix. Raises StageFailed when llama.cpp cannot."""
    _run({"do": "quantize", "source": source, "type": name}, out, f"llama.cpp cannot make {name}", log)


def _run(job: Mapping[str, Any], out: Path, failed: str, log: Logger) -> None:
    """Have a child do it. It ends with us, however we end: it holds the other end of its standard input."""
    scratch = out.with_name(out.name + ".part")
    # Nothing of the user's may choose another gguf package; the network is not meant.
    settings = {name: value for name, value in os.environ.items() if name != "NO_LOCAL_GGUF"}
    settings |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    said = ""
    with subprocess.Popen(
        [sys.executable, "-P", str(_CHILD), json.dumps({**job, "out": scratch}, default=str)],
        env=settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith(_ERROR):
                    said = line.removeprefix(_ERROR).strip()
                elif line.strip():
                    log.debug("%s", line.rstrip())
            code = child.wait()
        except BaseException:
            child.kill()
            raise
    if code or said:
        free = shutil.disk_usage(out.parent).free
        scratch.unlink(missing_ok=True)
        if "No space left" in said or free < 1_000_000:
            raise EnvironmentLacks(f"{failed}: the disk is full ({free / 1e9:.1f} GB free); free some and run again")
        raise StageFailed(f"{failed}: {said or f'it ended with exit code {code}'}; this stage's log has all it said")
    with scratch.open("rb") as stream:
        os.fsync(stream.fileno())
    scratch.replace(out)


def install(archive: Path | None = None) -> None:
    """Fetch the source archive through pip, or take `archive`, and unpack the converter, whole or not at all.

    Raises EnvironmentLacks when pip cannot fetch it, or for an archive of another SHA-256.
    """
    parent = home().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".unpacking-") as scratch:
            made = Path(scratch) / "converter"
            _unpack(archive or _fetch(Path(scratch)), made)
            shutil.rmtree(home(), ignore_errors=True)
            made.rename(home())
    except OSError as error:
        raise EnvironmentLacks(f"{error.filename or parent}: {error.strerror or error}") from error


def _fetch(into: Path) -> Path:
    """The source archive, by pip and as pip is configured; it also prepares a build, of which nothing is kept."""
    wanted = f"llama-cpp-python=={VERSION}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "llama-cpp-python", "--dest", str(into), wanted]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    found = sorted(into.glob("*.tar.gz"))
    if done.returncode or not found:
        lines = [line.strip() for line in done.stdout.splitlines() if "rror" in line]
        raise EnvironmentLacks(
            f"pip cannot fetch the source archive of {wanted} ({lines[-1] if lines else 'it does not say why'}); "
            f"get it by other means and run: {COMMAND} ARCHIVE"
        )
    return found[0]


def _unpack(archive: Path, into: Path) -> None:
    if (found := sha256_file(archive)) != SHA256:
        raise EnvironmentLacks(
            f"{archive.name}: its SHA-256 is {found[:16]}…, not {SHA256[:16]}… as that of llama-cpp-python {VERSION}; "
            "nothing was unpacked"
        )
    prefix, files = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/", {}
    with tarfile.open(archive) as packed:
        for member in packed:
            name = member.name.removeprefix(prefix)
            if name == member.name or not name.startswith(_NEEDED) or (stream := packed.extractfile(member)) is None:
                continue
            data = stream.read()
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(data)
            files[name] = hashlib.sha256(data).hexdigest()
    write_json(into / RECORD, {"archive": SHA256, "files": files})


def main() -> None:
    """Set up the converter unless it is there. An argument is the path of the source archive."""
    try:
        find()
        print(f"llama.cpp's converter of llama-cpp-python {VERSION} is there")
        return
    except EnvironmentLacks:
        pass
    try:
        install(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
        find()
    except BbjspecError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(f"unpacked llama.cpp's converter of llama-cpp-python {VERSION}")


if __name__ == "__main__":
    main()
