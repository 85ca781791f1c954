"""Mutations: cheap changes of bytes, PNG chunks, zips and JSON documents."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from random import Random
from typing import Any

_INTERESTING = (0, 1, 127, 128, 255)
_LENGTHS = (0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1)
NAMES = (
    *("//x", "/x", "../../x", "a/" * 300 + "x.png", "a//b.png", "C:\\x.png", "x\x00.png", "\udc80.png", "con", "."),
    *("", " ", "=1+1.png", "[/x].png", "é" * 200 + ".png"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**18, -(10**18), 0.5, 1e30, 1e308, float("nan"), float("inf")),
    *("", "x", "../../etc/passwd", "//x", "[/x]", "\x00", "a" * 5000, [], {}, [[]], [None], {"x": 1}, [1, "x"]),
)


def mutate_bytes(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """One to four changes: a flipped bit, a set byte, a cut, a repeated, removed, swapped or foreign piece."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at, length = random.randrange(len(data)), random.choice((1, 2, 4, 16, 64))
        match random.randrange(8):
            case 0 | 1:
                data[at] ^= 1 << random.randrange(8)
            case 2:
                data[at] = random.choice(_INTERESTING)
            case 3:
                del data[at:]
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length] * random.choice((1, 2, 50))
            case 6:
                number = struct.pack(random.choice((">I", "<I")), random.choice(_LENGTHS))
                data[at : at + 4] = number
            case _:
                other = random.choice(others) if others else bytes(data)
                start = random.randrange(len(other)) if other else 0
                data[at : at + length] = other[start : start + length]
    return bytes(data)


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a whole PNG, as (kind, data)."""
    chunks, at = [], 8
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        chunks.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def join_png(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A PNG of `chunks`, each with a right checksum."""
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def mutate_png(random: Random, content: bytes) -> bytes:
    """A PNG with right checksums whose chunks are swapped, changed, removed, repeated or of another kind."""
    chunks = png_chunks(content)
    at, to = random.randrange(len(chunks)), random.randrange(len(chunks))
    kind, data = chunks[at]
    match random.randrange(7):
        case 0:
            chunks[at], chunks[to] = chunks[to], chunks[at]
        case 1:
            chunks[at] = (kind, mutate_bytes(random, data))
        case 2:
            del chunks[at]
        case 3:
            chunks.insert(to, chunks[at])
        case 4:
            chunks[at] = (random.choice((b"tRNS", b"PLTE", b"eXIf", b"acTL", b"iCCP", b"zTXt", b"gAMA")), data)
        case 5:
            header = bytearray(chunks[0][1].ljust(13, b"\0"))
            header[random.randrange(13)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
            chunks[0] = (b"IHDR", bytes(header))
        case _:
            try:
                raw = mutate_bytes(random, zlib.decompress(data))
            except zlib.error:
                raw = data
            chunks[at] = (kind, zlib.compress(raw))
    return join_png(chunks)


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of `files`."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name.encode(errors="replace").decode())  # of a fixed date: the same bytes again
            member.compress_type = method
            archive.writestr(member, content)
    return buffer.getvalue()


def mutate_zip(random: Random, files: dict[str, bytes], change: Callable[[Random, bytes], bytes]) -> bytes:
    """A zip of `files` with a renamed, repeated, damaged or foreign member, or with changed bytes of its own."""
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    changed = dict(files)
    name = random.choice(list(files))
    match random.randrange(6):
        case 0:
            changed[random.choice(NAMES)] = changed.pop(name)
        case 1:
            changed[name] = change(random, changed[name])
        case 2:
            del changed[name]
        case 3:
            changed[f"{name}/x.png"] = changed[name]
        case _:
            return mutate_bytes(random, zip_of(changed, method))
    return zip_of(changed, method)


def mutate_json(random: Random, document: Any) -> bytes:
    """`document` as JSON with a value, key or list changed; sometimes its text, or a number or depth out of reason."""
    copy = json.loads(json.dumps(document))
    for _ in range(random.choice((1, 1, 2))):
        places = _places(copy)
        if not places:
            break
        holder, key = random.choice(places)
        match random.randrange(6):
            case 0 if isinstance(holder, dict):
                holder[random.choice(("x", "", f"{key}x"))] = holder.pop(key)
            case 1:
                del holder[key]
            case 2:
                donor, from_key = random.choice(places)
                holder[key] = _get(donor, from_key)
            case 3 if isinstance(holder, list):
                holder.append(holder[key])
            case _:
                holder[key] = random.choice(VALUES)
        copy = json.loads(json.dumps(copy))  # no two places share a value
    text = json.dumps(copy)
    match random.randrange(12):
        case 0:
            return mutate_bytes(random, text.encode())
        case 1:
            return text.replace(str(random.randrange(10)), "7" * 5000, 1).encode()
        case 2:
            depth = random.choice((50, 2000, 100_000))
            return text.replace('"', f'"x": {"[" * depth}{"]" * depth}, "', 1).encode()
    return text.encode()


def _get(holder: Any, key: Any) -> Any:
    try:
        return json.loads(json.dumps(holder[key]))
    except (KeyError, IndexError):
        return None


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every (dictionary or list, key or index) of `document`."""
    found: list[tuple[Any, Any]] = []
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        found.append((document, key))
        found += _places(document[key])
    return found
