"""Events as values: tagged, immutable, tolerant of what is new."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import streamkit as sk
from streamkit.events import EVENT_TYPES, Event


def test_each_event_is_written_with_its_tag_and_without_defaults() -> None:
    assert b'{"type":"text-delta","text":"hi"}' == msgspec.json.encode(sk.TextDelta("hi"))
    assert b'{"type":"finish"}' == msgspec.json.encode(sk.Finish())


def test_tags_are_kebab_case_unique_and_a_plain_property() -> None:
    tags = [kind.type for kind in EVENT_TYPES]
    assert len(tags) == len(set(tags))
    for kind, tag in zip(EVENT_TYPES, tags, strict=True):
        assert tag == tag.lower() == kind.__struct_config__.tag
    assert "tool-call-start" == sk.ToolCallStart("1", "f").type


def test_a_field_from_the_future_is_read_over() -> None:
    assert sk.TextDelta("x") == msgspec.json.decode(b'{"type":"text-delta","text":"x","mood":"good"}', type=Event)


@pytest.mark.parametrize("event", [sk.TextDelta("x"), sk.Usage(), sk.Finish()])
def test_an_event_cannot_be_changed(event: Event) -> None:
    with pytest.raises(AttributeError):
        event.choice = 3  # type: ignore[union-attr, misc]


def test_events_can_be_matched_by_their_fields() -> None:
    match sk.Finish("length", "max_tokens"):
        case sk.Finish(reason="length", raw_reason=raw):
            assert "max_tokens" == raw
        case _:
            pytest.fail("a Finish with reason length did not match")


def test_usage_that_was_not_told_is_none_and_not_zero() -> None:
    assert sk.Usage().input_tokens is None
    assert sk.Usage().final
    assert not sk.Usage().estimated


def test_a_file_is_read_with_its_name_and_kind(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"pixels")
    (tmp_path / "odd").write_bytes(b"x")
    assert sk.File("image/png", data=b"pixels", name="cat.png") == sk.File.read(tmp_path / "cat.png")
    assert sk.File("text/plain", data=b"x", name="odd") == sk.File.read(str(tmp_path / "odd"), "text/plain")
    with pytest.raises(sk.ConfigError, match="'odd' is cannot be told from its name"):
        sk.File.read(tmp_path / "odd")


def test_a_file_shows_its_size_and_not_its_contents() -> None:
    assert "<File image/png, 6 bytes, 'cat.png'>" == repr(sk.File("image/png", data=b"pixels", name="cat.png"))
    assert "<File image/png, an address>" == repr(sk.File("image/png", url="data:image/png;base64,AAAA"))
