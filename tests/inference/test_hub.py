"""Weights on the Hugging Face Hub, with a server on this machine that has the requests of download and upload."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from helpers import same_weights, tiny_network
from huggingface_hub import constants

import taichinet
from taichinet.errors import SettingError, WeightsError
from taichinet.inference import hub
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import WeightsConfig

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]
REPOSITORY = "clinic/breast-unet"
READ, WRITE = "hf_read", "hf_write"


class Hub(ThreadingHTTPServer):
    """Repositories in memory: files by name, for each commit. The last commit is the branch main."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.tokens: set[str | None] = set()
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest()
        self.commits[digest] = files
        return digest

    def find(self, revision: str) -> str | None:
        newest = list(self.commits)[-1] if self.commits else None
        return newest if revision == "main" else next((c for c in self.commits if c == revision), None)


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: object, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        self.server.tokens.add(self.headers.get("authorization"))
        kind, _, rest = path.removeprefix(f"/api/models/{REPOSITORY}").partition("/")[2].partition("/")
        if path.startswith(f"/{REPOSITORY}/resolve/"):
            revision, _, name = path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")
            kind = "resolve"
        else:
            revision, name = rest.partition("/")[0] or "main", ""
        commit = self.server.find(revision)
        if REPOSITORY not in path or not self.server.commits:
            self.answer({"error": "Repository not found"}, 404, x_error_code="RepoNotFound")
        elif commit is None:
            self.answer({"error": "Revision not found"}, 404, x_error_code="RevisionNotFound")
        elif kind == "resolve" and name in self.server.commits[commit]:
            content = self.server.commits[commit][name]
            etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            self.answer(content, etag=f'"{etag}"', x_repo_commit=commit)
        elif kind == "tree":
            files = self.server.commits[commit]
            self.answer(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324
                    for name, content in files.items()
                ]
            )
        else:
            siblings = [{"rfilename": name} for name in self.server.commits[commit]]
            self.answer({"id": REPOSITORY, "modelId": REPOSITORY, "sha": commit, "siblings": siblings, "tags": []})

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.server.requests.append(f"POST {path}")
        self.server.tokens.add(self.headers.get("authorization"))
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if path == "/api/repos/create":
            self.answer({"url": f"{self.server.address}/{REPOSITORY}"})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            commit = self.server.add(files)
            self.answer({"commitUrl": f"{self.server.address}/{REPOSITORY}/commit/{commit}", "commitOid": commit})
        else:
            self.answer({"error": path}, 404)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub_server = Hub()
    threading.Thread(target=hub_server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.address)
    files = f"{hub_server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    yield hub_server
    hub_server.shutdown()
    hub_server.server_close()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    provenance = {"recipe": "short-unet", "train_keys": ["a"], "validation_keys": []}
    config = WeightsConfig("unet", {"width": 2}, 32, provenance=provenance)
    folder = save_weights(tiny_network("unet"), config, tmp_path / "weights")
    (folder / "README.md").write_text("---\nlicense: other\n---\n# A network\n")
    (folder / "notes.txt").write_text("not part of the weights")
    return folder


def test_pushed_weights_are_loaded_again_and_without_a_connection(server: Hub, weights: Path) -> None:
    url = taichinet.push_to_hub(weights, REPOSITORY, token=WRITE)
    (commit,) = server.commits
    assert url.endswith(commit)
    assert set(server.commits[commit]) == {"README.md", "config.json", "model.safetensors", "training_images.json"}
    assert server.tokens == {f"Bearer {WRITE}"}

    model = taichinet.from_pretrained(REPOSITORY, token=READ, device="cpu")
    assert same_weights(model.weights[0].network, load_weights(weights).network)
    assert model.weights[0].config.provenance["train_keys"] == ["a"]
    assert f"Bearer {READ}" in server.tokens
    assert taichinet.from_pretrained(REPOSITORY, revision=commit).path == model.path

    requests = len(server.requests)
    assert taichinet.from_pretrained(REPOSITORY, local_files_only=True).path == model.path
    assert len(server.requests) == requests
    with pytest.raises(WeightsError, match=r"clinic/other cannot be downloaded.*LocalEntryNotFound"):
        taichinet.from_pretrained("clinic/other", local_files_only=True)


def test_model_pushes_its_own_folder(server: Hub, weights: Path) -> None:
    taichinet.load(weights).push_to_hub(REPOSITORY)
    assert len(server.commits) == 1
    assert "POST /api/repos/create" in server.requests


def test_code_of_the_documentation(server: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/python.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "push_to_hub" in block]
    monkeypatch.chdir(weights.parent)
    exec(code, {"taichinet": taichinet})  # noqa: S102 - the code of our own page
    assert len(server.commits) == 1


def test_errors_of_the_hub_name_the_repository_and_the_remedy(server: Hub, weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"clinic/breast-unet cannot be downloaded.*Check its name"):
        taichinet.from_pretrained(REPOSITORY)
    server.add({"config.json": b"{}"})
    with pytest.raises(WeightsError, match=r"cannot be downloaded.*RevisionNotFound"):
        taichinet.from_pretrained(REPOSITORY, revision="v9")
    with pytest.raises(WeightsError, match=r"No model\.safetensors"):
        taichinet.from_pretrained(REPOSITORY)
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match=r"cannot be uploaded to clinic/breast-unet.*connection"):
        taichinet.push_to_hub(weights, REPOSITORY)


def test_folders_without_card_or_with_damaged_weights_are_not_uploaded(server: Hub, weights: Path) -> None:
    with (weights / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(WeightsError, match="damaged"):
        hub.push_to_hub(weights, REPOSITORY)
    save_weights(tiny_network("unet"), WeightsConfig("unet", {"width": 2}, 32), weights)
    (weights / "README.md").unlink()
    with pytest.raises(WeightsError, match=r"no model card.*package-weights"):
        hub.push_to_hub(weights, REPOSITORY)
    assert server.requests == []


def test_other_names_are_not_asked_for(server: Hub) -> None:
    for name in ("nothing", "a/b/c", "../weights", "a--b/c", "/absent/folder"):
        with pytest.raises(WeightsError, match="No weights at"):
            taichinet.from_pretrained(name)
        with pytest.raises(SettingError, match="not the name of a repository"):
            hub.download(name)
    assert server.requests == []


def test_folder_has_no_revision(weights: Path) -> None:
    assert taichinet.from_pretrained(weights).path == weights
    with pytest.raises(SettingError, match="has no revision"):
        taichinet.from_pretrained(weights, revision="main")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub.errors", None)
    with pytest.raises(SettingError, match=r"taichinet\[hub\]"):
        taichinet.from_pretrained(REPOSITORY)
