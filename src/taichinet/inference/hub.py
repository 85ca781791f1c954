"""Weights on the Hugging Face Hub: download and upload of weights folders. Nothing else connects to another machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taichinet.errors import SettingError, WeightsError
from taichinet.inference.runtimes.parity import PACKAGED_GRAPH, PACKAGED_RECORD
from taichinet.models.weights_folder import open_weights

CARD = "README.md"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FILES = ["*.json", "*.safetensors", "*.onnx", "*.py", CARD]
"""What a weights folder can consist of. Code is only executed on request, see `load_weights`."""


def is_repository(text: str) -> bool:
    """Whether `text` can be the name of a repository, such as "organisation/name"."""
    return _REPOSITORY.fullmatch(text) is not None and "--" not in text and ".." not in text


def download(
    repository: str, revision: str | None = None, local_files_only: bool = False, token: str | bool | None = None
) -> Path:
    """Download a weights folder, or find it in the cache of huggingface_hub.

    Args:
        repository: "organisation/name".
        revision: Branch, tag or commit; None for the main branch. A commit is never another content later.
        local_files_only: Whether to use the cache only, without a connection.
        token: Access token; None for that of `hf auth login`, False for none.

    Returns:
        The folder in the cache.

    Raises:
        SettingError: huggingface_hub is not installed, or `repository` is not such a name.
        WeightsError: The hub cannot be reached, or does not have the repository, or it is not in the cache.
    """
    _refuse_other_names(repository)
    with _errors(f"{repository} cannot be downloaded", "Check its name, the revision, the token and the connection"):
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                repository,
                revision=revision,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=_FILES,
                library_name="taichinet",
            )
        )


def push_to_hub(
    folder: str | Path,
    repository: str,
    private: bool = True,
    revision: str | None = None,
    token: str | bool | None = None,
    message: str = "Upload weights of taichinet",
) -> str:
    """Upload a weights folder with its model card as one commit. The repository is created if it does not exist.

    Args:
        folder: A folder that `taichinet package-weights` or `save` wrote.
        repository: "organisation/name".
        private: Whether a new repository is private; an existing one keeps its visibility.
        revision: Branch; None for the main branch.
        token: Access token with write permission; None for that of `hf auth login`.
        message: Title of the commit.

    Returns:
        The address of the commit.

    Raises:
        SettingError: huggingface_hub is not installed, or `repository` is not such a name.
        WeightsError: The folder has no weights or no model card, a file does not have the recorded digest, or the hub
            cannot be reached or refuses the upload.
    """
    folder = Path(folder)
    _refuse_other_names(repository)
    config = open_weights(folder).config
    if not (folder / CARD).is_file():
        raise WeightsError(
            f"{folder} has no model card ({CARD}), without which weights should not be shared: nobody could know their "
            "training data and scores. Write both with `taichinet package-weights RUN -o FOLDER`, and give that folder."
        )
    with _errors(f"{folder} cannot be uploaded to {repository}", "Check its name, the token and the connection"):
        from huggingface_hub import HfApi

        api = HfApi(token=token, library_name="taichinet")
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            allow_patterns=[*config.files, PACKAGED_GRAPH, PACKAGED_RECORD, CARD],
        )
    return str(commit.commit_url)


def _refuse_other_names(repository: str) -> None:
    if not is_repository(repository):
        raise SettingError(f"'{repository[:100]}' is not the name of a repository on the hub: organisation/name.")


@contextmanager
def _errors(problem: str, remedy: str) -> Iterator[None]:
    """Convert the errors of huggingface_hub to ours."""
    try:
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise SettingError("The hub needs the package huggingface_hub: pip install 'taichinet[hub]'.") from error
    # The HTTP client, whose errors are no OSError, depends on the version of huggingface_hub.
    errors: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError, ValueError)
    try:
        yield
    except errors as error:
        reason = " ".join(str(error).split())[:400]
        raise WeightsError(f"{problem} ({type(error).__name__}: {reason}). {remedy}.") from error
