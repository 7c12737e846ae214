"""The files of a checkpoint, on disk or on the Hugging Face Hub. Remote files are read only through huggingface_hub."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from mflux_port.checkpoint.headers import DTYPE_BITS, PICKLES, Header, Tensor, is_name, read_header
from mflux_port.errors import PortError, short_repr

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_WAITS = (0.5, 2.0)  # seconds to wait before the second and the third try
_TRANSPORT_ERRORS = ("TransportError", "ConnectionError", "Timeout", "TimeoutError")
_SLOW = 2.0  # seconds after which a terminal shows progress
_DEPTH = 3  # the depth to which folders are searched, which also ends a loop of links
_JSON_LIMIT = 64_000_000


class LocalSource:
    """A folder, or one safetensors file. ``files``: bytes by path relative to the folder, with forward slashes."""

    def __init__(self, path: Path):
        self.single = path.is_file()
        self.root = path.parent if self.single else path
        cached = re.search(r"models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})$", str(path))
        self.repo = f"{cached[1]}/{cached[2]}" if cached else ""
        self.revision = cached[3] if cached else ""
        self.files = {path.name: path.stat().st_size} if self.single else _list_files(path)
        _verify_names(self.files, path)

    def path(self, name: str) -> Path:
        return self.root / name

    def read(self, name: str) -> bytes:
        path = self.path(name)
        if self.files[name] > _JSON_LIMIT:
            raise PortError(
                f"{path} has {self.files[name]} bytes, too many for a configuration file; download it again"
            )
        return path.read_bytes()

    def header(self, name: str) -> Header:
        return read_header(self.path(name))


class RemoteSource:
    """A repo of the Hub, at the commit that its main branch has now.

    Weights are never downloaded, only their headers.
    """

    single = False
    root = None

    def __init__(self, repo: str):
        from huggingface_hub import HfApi
        from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT as patience
        from huggingface_hub.utils import get_session
        from huggingface_hub.utils import logging as hub_logging

        hub_logging.set_verbosity_error()  # hide the library's messages about tokens
        get_session().timeout = patience  # seconds without data; the default waits forever
        self._started, self._read = time.monotonic(), 0
        info = _remote(repo, lambda: HfApi().model_info(repo, files_metadata=True, timeout=patience))
        self.repo, self.revision = repo, info.sha or ""
        self.files = {file.rfilename: file.size or 0 for file in info.siblings or []}
        _verify_names(self.files, repo)

    def path(self, name: str) -> str:
        return f"{self.repo}/{name}"

    def read(self, name: str) -> bytes:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        if self.files[name] > _JSON_LIMIT:
            raise PortError(f"{self.path(name)} has {self.files[name]} bytes, too many for a configuration file")
        url = hf_hub_url(self.repo, name, revision=self.revision)

        def get() -> bytes:
            # hf_hub_download would retry for minutes when the hub does not answer.
            response = get_session().get(url, headers=build_hf_headers())
            hf_raise_for_status(response)
            return response.content

        return _remote(self.repo, get)

    def header(self, name: str) -> Header:
        from huggingface_hub import parse_safetensors_file_metadata

        self._tell(name)
        read = lambda: parse_safetensors_file_metadata(self.repo, name, revision=self.revision)  # noqa: E731
        metadata = _remote(self.repo, read)
        odd = next((tensor for tensor in metadata.tensors if not is_name(tensor)), None)
        if odd is not None:
            raise PortError(
                f"{self.path(name)}: {short_repr(odd)} is not a valid tensor name; report it to the repo's owner"
            )
        unknown = next((tensor for tensor, info in metadata.tensors.items() if info.dtype not in DTYPE_BITS), None)
        if unknown:
            raise PortError(
                f"{self.path(name)}: tensor {unknown!r} has the unknown type {metadata.tensors[unknown].dtype!r}"
            )
        tensors = {tensor: Tensor(tensor, info.dtype, tuple(info.shape)) for tensor, info in metadata.tensors.items()}
        return Header(tensors, metadata.metadata)

    def _tell(self, name: str) -> None:
        # On a slow connection the user sees the progress and how much is left.
        self._read += 1
        if sys.stderr.isatty() and time.monotonic() - self._started > _SLOW:
            count = sum(file.endswith(".safetensors") for file in self.files)
            print(f"reading header {self._read} of up to {count}: {self.path(name)}", file=sys.stderr)


def open_source(where: str) -> LocalSource | RemoteSource:
    """A source for a folder, a safetensors file, a Hugging Face cache folder or a repo id. Raises PortError."""
    path = Path(os.path.expanduser(where))
    if not where.strip():
        raise PortError(f"{where!r} is not a checkpoint; type a folder, a .safetensors file or organisation/name")
    try:
        path.stat()
    except FileNotFoundError:
        if is_repo_id(where):
            return _open_repo(where)
        raise PortError(f"{where} does not exist and is not a repo id; type a folder or organisation/name") from None
    except OSError as error:
        raise PortError(f"{where} cannot be read ({error.strerror or error}); point to another folder") from None
    if path.is_file() and path.suffix.lower() in PICKLES:
        raise PortError(
            f"{where} is a pickle, which can run code; only .safetensors files are read, so download one of those"
        )
    if path.is_file() and path.suffix != ".safetensors":
        raise PortError(f"{where} is not a .safetensors file; point to one, to a folder or to a repo id")
    return LocalSource(_snapshot(path))


def downloaded(where: str) -> tuple[Path, str]:
    """The folder on this disk, and its repo id (empty when unknown), of a folder or of a repo in the Hugging Face
    cache.
    """
    from huggingface_hub import constants

    path = Path(os.path.expanduser(where))
    if not path.exists() and is_repo_id(where):
        path = Path(constants.HF_HUB_CACHE) / f"models--{where.replace('/', '--')}"
    if not path.is_dir():
        raise PortError(f"{where} is not on this disk; run the port once so that it is downloaded, or name its folder")
    source = LocalSource(_snapshot(path))
    return source.root, source.repo


def is_repo_id(text: str) -> bool:
    """Whether ``text`` has the form organisation/name."""
    return bool(_REPO.fullmatch(text)) and ".." not in text


def _open_repo(repo: str) -> LocalSource | RemoteSource:
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        return RemoteSource(repo)
    cached = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    if not cached.is_dir():
        raise PortError(f"{repo} is not in the Hugging Face cache and HF_HUB_OFFLINE is set; unset it or type a folder")
    return LocalSource(_snapshot(cached))


def _snapshot(path: Path) -> Path:
    # A repo's folder in the Hugging Face cache means the snapshot of its main branch.
    if not (path / "snapshots").is_dir() or not path.name.startswith("models--"):
        return path
    main = path / "refs" / "main"
    if main.is_file() and re.fullmatch(r"[0-9a-f]{40}", main.read_text(errors="replace").strip()):
        return path / "snapshots" / main.read_text(errors="replace").strip()
    found = sorted((path / "snapshots").iterdir())
    if len(found) != 1:
        raise PortError(f"{path} has {len(found)} snapshots and no main; point to one below its snapshots folder")
    return found[0]


def _list_files(root: Path) -> dict[str, int]:
    files: dict[str, int] = {}

    def walk(folder: Path, depth: int) -> None:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith(".") or not entry.is_symlink() and not (entry.is_dir() or entry.is_file()):
                continue
            try:
                if entry.is_dir():
                    if depth < _DEPTH:
                        walk(Path(entry.path), depth + 1)
                    continue
                files[Path(entry.path).relative_to(root).as_posix()] = entry.stat().st_size
            except OSError as error:
                raise PortError(
                    f"{entry.path} is a broken link ({error.strerror or error}); download the checkpoint again"
                ) from None

    walk(root, 0)
    return files


def _verify_names(files: dict[str, int], where: object) -> None:
    # Names are written into text lists and sent to the Hub unchanged.
    wrong = next(
        (name for name in files if not name.strip() or not name.isprintable() or ".." in name.split("/")), None
    )
    if wrong is not None:
        raise PortError(f"{where}: {short_repr(wrong)} is not a valid file name; rename or remove it")


def _remote(repo: str, call):
    """Call the Hub and return the result; retry after temporary failures. Raises PortError for all other failures."""
    for wait in (*_WAITS, None):
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - the transport below huggingface_hub has error types of its own
            if wait is None or not _may_pass(error):
                raise PortError(_explain(repo, error)) from None
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _may_pass(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        status = getattr(error.response, "status_code", 0)
        return status == 429 or status >= 500
    # Covers the transport's error types: a connection that was refused, reset or cut off, or a response that timed out.
    return any(cls.__name__ in _TRANSPORT_ERRORS for cls in type(error).__mro__)


def _explain(repo: str, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        NotASafetensorsRepoError,
        RepositoryNotFoundError,
        SafetensorsParsingError,
    )

    first = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, GatedRepoError):
        return f"{repo} is gated; accept its terms on its page and run `hf auth login`"
    if isinstance(error, (RepositoryNotFoundError, EntryNotFoundError)):
        return (
            f"{repo} is not on the Hugging Face Hub, or one of its files was deleted; check the name on its page, and run `hf auth login` "
            "if it is private"
        )
    if isinstance(error, (SafetensorsParsingError, NotASafetensorsRepoError)):
        return f"{repo} holds a damaged safetensors file ({first}); report it to its owner"
    cached = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "snapshots"
    way = "set HF_HUB_OFFLINE=1 to read what is in the cache" if cached.is_dir() else "type a local folder"
    if isinstance(error, (HfHubHTTPError, OSError)):
        return f"{repo} cannot be reached ({first}); check the network, or {way}"
    return f"{repo} cannot be read ({type(error).__name__}: {first}); check the network, or {way}"
