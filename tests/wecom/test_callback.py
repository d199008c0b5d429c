"""Callbacks as the platform sends them, from the vendor's published samples; and everything that is not one."""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from shared.wecom.callback import MOST_BYTES, WINDOW, CallbackKey, Forged, Stamp, repeat_keys
from shared.wecom.callback_xml import Malformed, fields

TOKEN, AES_KEY, RECEIVER = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C", "wx5823bf96d3bd56c7"
ECHO = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ=="
MESSAGE = (
    "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYv"
    "uJTs3TUUkSUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+Lt"
    "wGc2hgf5gsijff0ekUNXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V"
    "2t9EL4EhzJWrQUax5wLVMNS0+rUPA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptD"
    "AVe0lXdQ2YoyyH2uyPIGHBZZIs2pDBS8R07+qN+E7Q=="
)
PLAIN = (
    "<xml><ToUserName><![CDATA[wx5823bf96d3bd56c7]]></ToUserName>\n"
    "<FromUserName><![CDATA[mycreate]]></FromUserName>\n"
    "<CreateTime>1409659813</CreateTime>\n"
    "<MsgType><![CDATA[text]]></MsgType>\n"
    "<Content><![CDATA[hello]]></Content>\n"
    "<MsgId>4561255354251345929</MsgId>\n"
    "<AgentID>218</AgentID>\n"
    "</xml>"
)
JSON_SEALED = (
    "cjhLUX7UU4yCSelv1vz7T0zT8huF51bAMVWriNvO1FMegHrQZNrtvRxbwf0fUPsFvwqR0U0fgiJNEA5Y30F2MoI2S7vv3EjVQ68C0cjw9frB"
    "oUE2Hj0BvFp9h3u6Vbsg4lc1C8AtHdaN8orKuNKkLRLuYEL52R1J3v8olJGZRLnRdVKIivixmX/eQpzgeExtp20jI1HxRP1AAZ6xZoILdqDP"
    "O549LO4WeG+685JRUTdiwcY5fjZlqeMxuT4PpMn1X9OWsS7NRj06Wa5E3Tvg4twjWp39KPfOdRte6P1T4JU="
)
AT = datetime.fromtimestamp(1409659813, UTC)
KEY = CallbackKey(TOKEN, AES_KEY, RECEIVER)


def _envelope(sealed: str) -> bytes:
    return (
        f"<xml><ToUserName><![CDATA[{RECEIVER}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt>"
        "<AgentID><![CDATA[218]]></AgentID></xml>"
    ).encode()


def _seal(message: bytes, receiver: str = RECEIVER, length: int | None = None, pad: int | None = None) -> str:
    key = b64decode(AES_KEY + "=")
    plain = b"r" * 16 + struct.pack(">I", len(message) if length is None else length) + message
    plain += receiver.encode()
    missing = 32 - len(plain) % 32
    plain += bytes([missing if pad is None else pad]) * missing
    encryptor = Cipher(AES(key), CBC(key[:16])).encryptor()
    return b64encode(encryptor.update(plain) + encryptor.finalize()).decode()


def _stamp(sealed: str, timestamp: str = "1409659813", nonce: str = "n1") -> Stamp:
    return Stamp(KEY.signature(timestamp, nonce, sealed), timestamp, nonce, sealed)


# --- What the vendor published --------------------------------------------------------------------------


def test_the_url_is_verified_with_the_bare_plaintext() -> None:
    query = urlencode(
        {
            "msg_signature": "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
            "timestamp": "1409659589",
            "nonce": "263014780",
            "echostr": ECHO,
        }
    )
    assert KEY.echo(Stamp.of_query(query), AT) == b"1616140317555161061"


def test_a_message_whose_padding_is_longer_than_the_ciphers_block_is_read() -> None:
    stamp = Stamp.of_query(
        b"msg_signature=477715d11cdb4164915debcba66cb864d751f3e6&timestamp=1409659813&nonce=1372623149"
    )
    opened = KEY.open(stamp, _envelope(MESSAGE), AT)
    assert opened.text.decode() == PLAIN
    assert opened.fields() == {
        "ToUserName": RECEIVER,
        "FromUserName": "mycreate",
        "CreateTime": "1409659813",
        "MsgType": "text",
        "Content": "hello",
        "MsgId": "4561255354251345929",
        "AgentID": "218",
    }


def test_the_sample_of_the_json_form_is_decrypted() -> None:
    key = CallbackKey(
        "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo",
        "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt",
        "ww1436e0e65a779aee",
    )
    assert (
        key.signature("1409659813", "1372623149", JSON_SEALED) == "e3647471e395139e2308c1fa963f2d648a00b90e"
    )
    message = key.decrypted(JSON_SEALED)
    assert len(message) == 176
    assert message.startswith(b'{ "ToUserName": "wx5823bf96d3bd56c7"')
    other = CallbackKey("t", "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt", "wx5823bf96d3bd56c7")
    with pytest.raises(Forged):
        other.decrypted(JSON_SEALED)  # the receiver is compared with ours, not with what the envelope names


# --- What is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 300, -300])
def test_a_stamp_within_five_minutes_is_fresh(seconds: int) -> None:
    sealed = _seal(b"1616140317555161061")
    assert KEY.echo(_stamp(sealed), AT + timedelta(seconds=seconds)) == b"1616140317555161061"


@pytest.mark.parametrize("seconds", [301, -301, 86_400])
def test_one_from_another_time_is_refused_however_well_it_is_signed(seconds: int) -> None:
    sealed = _seal(b"1616140317555161061")
    with pytest.raises(Forged, match="not fresh"):
        KEY.echo(_stamp(sealed), AT + timedelta(seconds=seconds))
    assert timedelta(seconds=300) == WINDOW


@pytest.mark.parametrize(
    "sealed",
    [
        _seal(b"hello", receiver="wx5823bf96d3bd56c8"),
        _seal(b"hello", receiver=""),
        _seal(b"hello", length=500),
        _seal(b"hello", length=2**32 - 1),
        _seal(b"hello", length=2),
        _seal(b"hello", pad=0),
        _seal(b"hello", pad=33),
        _seal(b"hello", pad=1),
        "",
        "====",
        "no base64!",
        b64encode(b"short").decode(),
        b64encode(b"0" * 32).decode(),
    ],
)
def test_what_is_signed_but_not_sealed_as_it_should_be_is_refused(sealed: str) -> None:
    with pytest.raises(Forged):
        KEY.echo(_stamp(sealed), AT)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
        "msg_signature=5C45FF5E21C57E6AD56BAC8758B79B1D9AC89FD3&timestamp=1&nonce=1",
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=-1&nonce=1",
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1e9&nonce=1",
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=%D9%A1&nonce=1",
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1&nonce=",
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1&nonce=1&nonce=2",
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1&nonce=%FF",
        "&".join(f"a{at}=1" for at in range(40)),
        "a=" + "1" * 9000,
    ],
)
def test_a_query_of_another_shape_is_refused(query: str) -> None:
    with pytest.raises(Forged):
        Stamp.of_query(query)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"hello",
        b"<xml>",
        b"\xff\xfe<xml/>",
        b'<!DOCTYPE xml [<!ENTITY a "b">]><xml><Encrypt>&a;</Encrypt></xml>',
        b'<!DOCTYPE xml SYSTEM "http://127.0.0.1/x"><xml/>',
        b"<xml><Encrypt>a</Encrypt><Encrypt>b</Encrypt></xml>",
        b"<xml>" + b"<a>" * 9 + b"</a>" * 9 + b"</xml>",
        b"<xml>" + b"".join(b"<a%d/>" % at for at in range(600)) + b"</xml>",
    ],
)
def test_xml_with_tricks_is_malformed(document: bytes) -> None:
    with pytest.raises(Malformed):
        fields(document)
    with pytest.raises(Forged):
        KEY.open(_stamp("x"), document, AT)


def test_who_recorded_a_delivery_does_not_get_it_decrypted_by_asking_for_a_verification() -> None:
    sealed = _seal(PLAIN.encode())
    with pytest.raises(Forged, match="no word"):
        KEY.echo(_stamp(sealed), AT)


def test_xml_as_deep_as_a_body_is_long_is_malformed_and_nothing_worse() -> None:
    deep = MOST_BYTES // 7
    with pytest.raises(Malformed):
        fields(b"<a>" * deep + b"</a>" * deep)


def test_a_body_beyond_the_bound_is_not_parsed() -> None:
    with pytest.raises(Forged):
        KEY.open(_stamp("x"), b"<xml>" + b" " * MOST_BYTES + b"</xml>", AT)


@pytest.mark.parametrize("key", ["", "short", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2", "!" * 43])
def test_a_key_that_is_none_is_an_error_at_once(key: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        CallbackKey(TOKEN, key, RECEIVER)


# --- Whatever comes: the message, or the one refusal ------------------------------------------------------


@given(st.binary(max_size=300))
def test_no_query_raises_anything_but_the_refusal(raw: bytes) -> None:
    try:
        Stamp.of_query(raw)
    except Forged:
        return


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["msg_signature", "timestamp", "nonce", "echostr", "x"]), st.text(max_size=50)
        ),
        max_size=8,
    )
)
def test_no_list_of_parameters_raises_anything_but_the_refusal(pairs: list[tuple[str, str]]) -> None:
    try:
        stamp = Stamp.of_query(urlencode(pairs, errors="replace"))
        KEY.echo(stamp, AT)
    except Forged:
        return
    raise AssertionError("nobody guesses a signature")


@given(st.binary(max_size=2000))
def test_no_body_raises_anything_but_the_refusal(body: bytes) -> None:
    with pytest.raises(Forged):
        KEY.open(_stamp("x"), body, AT)


@given(st.integers(0, len(_envelope(MESSAGE)) - 1), st.integers(1, 255), st.booleans())
def test_a_message_altered_anywhere_is_refused_or_the_same(at: int, by: int, cut: bool) -> None:
    genuine = Stamp("477715d11cdb4164915debcba66cb864d751f3e6", "1409659813", "1372623149")
    body = bytearray(_envelope(MESSAGE))
    if cut:
        del body[at]
    else:
        body[at] ^= by
    try:
        opened = KEY.open(genuine, bytes(body), AT)
    except Forged:
        return
    assert opened.text.decode() == PLAIN  # what was altered stands outside the signed part and means nothing


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_no_cipher_text_raises_anything_but_the_refusal(message: bytes, length: int, pad: int) -> None:
    sealed = _seal(message, length=length, pad=pad)
    try:
        KEY.echo(_stamp(sealed), AT)
    except Forged:
        return


@given(st.binary(max_size=400))
def test_any_message_that_is_sealed_is_opened(message: bytes) -> None:
    sealed = _seal(message)
    assert KEY.open(_stamp(sealed), _envelope(sealed), AT).text == message


@given(st.text(max_size=300))
def test_no_plaintext_raises_anything_but_the_refusal(text: str) -> None:
    sealed = _seal(text.encode("utf-8", "replace"))
    try:
        KEY.open(_stamp(sealed), _envelope(sealed), AT).fields()
    except Forged:
        return


def test_a_repeat_is_known_by_its_nonce_and_by_what_it_tells() -> None:
    sealed = _seal(PLAIN.encode())
    first = KEY.open(_stamp(sealed), _envelope(sealed), AT)
    again = KEY.open(_stamp(sealed, nonce="n2"), _envelope(sealed), AT)
    one, two = repeat_keys(first, first.fields()), repeat_keys(again, again.fields())
    assert one[0] != two[0]
    assert one[1] == two[1]
    shifted = first.fields() | {"FromUserName": "mycreat", "CreateTime": "e1409659813"}
    assert repeat_keys(first, shifted)[1] != one[1]
