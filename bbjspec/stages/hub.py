"""Where a base's files are: a Hub snapshot at a pinned commit, or a directory. One place for network errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bbjspec.embedded import source_of
from bbjspec.errors import BadInput, EnvironmentLacks

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")


def go_offline() -> None:
    """Tell huggingface_hub that no network is meant: with `kernels` installed, bitsandbytes calls the Hub at import.

    It must be called before the first import of huggingface_hub, transformers or bitsandbytes.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"


def locate(base: str, revision: str | None, root: Path, *, patterns: Sequence[str], fetch: bool = True) -> Path:
    """The directory that holds the files of `base` that match `patterns`.

    Relative directories are relative to the project's `root`. With `fetch`, a Hub snapshot is downloaded when it is
    not in the cache; without, it must be there. Raises BadInput for a directory, model or revision that does not
    exist, EnvironmentLacks when the network, the permission or the disk is missing.
    """
    if source_of(base) == "local":
        directory = (root / base).resolve()
        if not directory.is_dir():
            raise BadInput(f"model.base: {base} is no directory; write one that holds config.json and *.safetensors")
        return directory
    return _snapshot(base, revision, patterns, fetch=fetch)


def _snapshot(base: str, revision: str | None, patterns: Sequence[str], *, fetch: bool) -> Path:
    from huggingface_hub import errors as hub_errors
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()  # in a log each of their changes is a line
    where = f"{base} at {revision}"
    try:
        return Path(
            snapshot_download(base, revision=revision, allow_patterns=list(patterns), local_files_only=not fetch)
        )
    except hub_errors.GatedRepoError as error:
        raise EnvironmentLacks(
            f"{where}: access is gated; accept its licence on the Hub and log in with `hf auth login`"
        ) from error
    except hub_errors.RevisionNotFoundError as error:
        raise BadInput(f"{where}: the Hub has no such revision; copy a commit hash from the model's history") from error
    except hub_errors.RepositoryNotFoundError as error:
        raise BadInput(f"{where}: the Hub has no such model, or it is private and you are not logged in") from error
    except hub_errors.LocalEntryNotFoundError as error:
        raise EnvironmentLacks(
            f"{where}: not in this machine's Hub cache and the Hub cannot be reached; run this stage once where there "
            f"is a network (`hf download {base} --revision {revision}` does it by hand), or set HF_HOME to a cache "
            "that has it"
        ) from error
    except OSError as error:  # includes connection errors, time-outs, HTTP errors and a full disk
        raise EnvironmentLacks(
            f"{where}: the download failed ({type(error).__name__}); check the network and the free disk space, then "
            "run the same command again: what is there is kept"
        ) from error
