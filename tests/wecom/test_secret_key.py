"""The key that seals stored credentials."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from shared.errors import Conflict, Invalid
from shared.secrets import SecretKey


def test_what_was_sealed_opens_for_its_own_row_only() -> None:
    key = SecretKey(os.urandom(32))
    sealed = key.encrypt("秘密", "row-1")
    assert key.decrypt(sealed, "row-1") == "秘密"
    assert key.encrypt("秘密", "row-1") != sealed
    with pytest.raises(Conflict) as caught:
        key.decrypt(sealed, "row-2")
    assert caught.value.reason == "SECRET_KEY_MISMATCH"


@pytest.mark.parametrize("damage", ["", "v1", "v2.x.y", "v1.{f}.!!", "v1.{f}.", "v1.{f}.AAAA", "{s}AAAA"])
def test_a_damaged_text_is_refused(damage: str) -> None:
    key = SecretKey(bytes(32))
    text = damage.format(f=key.fingerprint(), s=key.encrypt("x", "c"))
    with pytest.raises(Conflict):
        key.decrypt(text, "c")


def test_another_key_is_told_apart_by_its_fingerprint() -> None:
    sealed = SecretKey(bytes(32)).encrypt("x", "c")
    with pytest.raises(Conflict, match="another key"):
        SecretKey(b"1" * 32).decrypt(sealed, "c")


def test_a_file_holds_the_key_raw_or_in_base64(tmp_path: Path) -> None:
    raw = os.urandom(32)
    for n, content in enumerate(
        [raw, base64.b64encode(raw), base64.b64encode(raw) + b"\n", base64.urlsafe_b64encode(raw)]
    ):
        path = tmp_path / str(n)
        path.write_bytes(content)
        assert SecretKey.load(path).fingerprint() == SecretKey(raw).fingerprint()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33, base64.b64encode(b"x" * 31), "钥匙".encode()])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(Invalid) as caught:
        SecretKey.load(path)
    assert caught.value.reason == "SECRET_KEY_INVALID"
    assert caught.value.__cause__ is None


def test_a_missing_file_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        SecretKey.load(tmp_path / "none")


def test_a_created_key_is_the_owners_alone_and_never_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = SecretKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SecretKey.create(path).fingerprint() == made.fingerprint() == SecretKey.load(path).fingerprint()
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_the_key_is_not_in_its_repr() -> None:
    raw = b"k" * 32
    assert "kkkk" not in repr(SecretKey(raw))
