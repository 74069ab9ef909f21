"""The embedded model: right pages, the same under a seed, limits kept, counts true, any question survived."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamkit.clients.local import LocalModel
from streamkit.clients.local.index import index
from streamkit.clients.local.tokens import count, split
from streamkit.clients.request import Request, Turn
from streamkit.errors import ConfigError
from streamkit.events import Event, Finish, Message, Start, TextDelta, Usage

MODEL = LocalModel(pace=None)
QUESTION = "What happens when the stream is truncated?"


def answer(question: Any, **options: Any) -> Message:
    return Message(MODEL.events(Request.of(question, **options)))


def sources(text: str) -> list[str]:
    return re.findall(r"\(`(\w+)\.md`\)", text.rstrip().rpartition("\n")[2])


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("What is streamkit?", "overview"),
        ("What is a Stream?", "streams"),
        ("Can I use a stream twice?", "streams"),
        ("StreamBusy", "streams"),
        ("How can I wrap an async generator?", "sources"),
        ("How do I merge two streams?", "operators"),
        ("How do I write my own operator?", "operators"),
        ("How do I split text into sentences?", "stages"),
        ("escape sequences in a terminal", "stages"),
        ("What is a buffer?", "buffers"),
        ("How do I handle backpressure when the consumer is slow?", "buffers"),
        ("What does drop_oldest mean?", "buffers"),
        ("How do I set an idle timeout?", "timeouts"),
        ("my source hangs, what can I do?", "timeouts"),
        ("How does streamkit close a source?", "closing"),
        ("How do I cancel a stream?", "closing"),
        (QUESTION, "errors"),
        ("Which exceptions can be raised?", "errors"),
        ("Which finish reasons exist?", "events"),
        ("How do tool calls arrive?", "events"),
        ("What are server-sent events?", "sse"),
        ("How do I serve a stream from FastAPI?", "sse"),
        ("How do I send NDJSON?", "http"),
        ("Does it work with Django?", "http"),
        ("How do I serve WebSockets?", "websockets"),
        ("Is there a gRPC server?", "grpc"),
        ("How do I limit connections per address?", "connections"),
        ("What happens at SIGTERM?", "connections"),
        ("Can I read Gemini or Ollama?", "dialects"),
        ("How do I test my streaming code?", "testing"),
        ("How do I install it with pip?", "install"),
        ("does it run on trio?", "install"),
        ("how does the local model work?", "local"),
    ],
)
def test_a_question_is_answered_from_the_page_that_fits_at_any_seed(question: str, page: str) -> None:
    for seed in range(4):
        assert page == sources(answer(question, seed=seed).text)[0]


def test_the_answer_opens_with_a_sentence_about_the_question_and_names_its_pages() -> None:
    text = answer("How do I set an idle timeout?", temperature=0).text
    assert text.startswith("**idle timeout**, in short: `sk.timeout` limits how long a source may take")
    assert "\n\n## The three clocks: first, idle, total\n\n" in text
    assert "\n- `idle=` is the longest silence between two items.\n" in text
    assert "```python\nguarded = " in text
    assert text.endswith("\n\nSources: Timeouts (`timeouts.md`)\n")


def test_all_that_is_said_stands_in_the_pages() -> None:
    units = [unit for section in index().sections for unit in section.units]
    said = {unit.text for unit in units} | {page.summary for page in index().pages}
    known = " ".join([*said, *(unit.intro for unit in units)])
    text = answer("How do I merge two streams?", temperature=0).text
    lead, _, rest = text.partition("\n\n")
    assert lead.partition(": ")[2] in said
    body = [line for line in rest.split("\n\n")[:-1] if not line.startswith("#")]
    assert body
    assert [] == [line for block in body for line in re.split(r"(?<=\.) ", block) if line not in known]


def test_code_fences_are_closed() -> None:
    for question in ("How do I merge two streams?", "What is a buffer?", QUESTION):
        for seed in range(5):
            assert 0 == answer(question, seed=seed).text.count("```") % 2


def test_the_same_seed_gives_the_same_events() -> None:
    for seed in (None, 0, 1, 2**70, -3):
        request = Request.of(QUESTION, seed=seed)
        assert list(MODEL.events(request)) == list(LocalModel(pace=5).events(request))


def test_the_same_seed_gives_the_same_text_in_another_process() -> None:
    code = (
        "from streamkit.clients.local import LocalModel\nfrom streamkit.clients.request import Request\n"
        "import sys\nsys.stdout.buffer.write(''.join(e.text for e in LocalModel().events(Request.of(sys.argv[1], seed=7))"
        " if e.type == 'text-delta').encode())"
    )
    done = subprocess.run([sys.executable, "-c", code, QUESTION], capture_output=True, timeout=150, check=True)
    assert answer(QUESTION, seed=7).text == done.stdout.decode()


def test_seeds_vary_the_text_unless_the_temperature_is_zero() -> None:
    assert len({answer(QUESTION, seed=seed).text for seed in range(12)}) > 3
    assert 1 == len({answer(QUESTION, seed=seed, temperature=0).text for seed in range(12)})


def test_seeds_vary_which_sentences_are_chosen_and_not_only_the_wording_around_them() -> None:
    bodies = {
        answer("How do I cancel a stream?", seed=seed, temperature=2).text.partition("\n\n")[2].rpartition("\n\n")[0]
        for seed in range(20)
    }
    assert len(bodies) > 1


def test_the_events_of_an_answer_come_in_their_order() -> None:
    events = list(MODEL.events(Request.of(QUESTION)))
    assert isinstance(events[0], Start)
    assert ("local", "local") == (events[0].model, events[0].provider)
    assert all(isinstance(event, TextDelta) for event in events[1:-2])
    assert isinstance(events[-2], Usage)
    assert Finish("stop") == events[-1]


def test_ids_differ_between_requests() -> None:
    assert answer("a").id != answer("b").id
    assert answer("a", seed=1).id != answer("a", seed=2).id


@pytest.mark.parametrize("limit", [1, 2, 17])
def test_max_tokens_ends_the_answer_with_length(limit: int) -> None:
    whole = answer(QUESTION)
    message = answer(QUESTION, max_tokens=limit)
    assert Finish("length") == message.finish
    assert message.usage is not None
    assert limit == message.usage.output_tokens
    assert "".join(split(whole.text)[:limit]) == message.text


def test_a_limit_that_is_just_enough_ends_with_stop() -> None:
    whole = answer(QUESTION)
    message = answer(QUESTION, max_tokens=count(whole.text))
    assert (whole.text, Finish("stop")) == (message.text, message.finish)


def test_a_stop_sequence_ends_the_answer_before_it() -> None:
    whole = answer(QUESTION).text
    message = answer(QUESTION, stop=["##"])
    assert Finish("stop") == message.finish
    assert whole[: whole.index("##")] == message.text


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_stop_sequence_is_found_wherever_the_tokens_are_cut(data: st.DataObject) -> None:
    whole = answer(QUESTION).text
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = whole[start : start + data.draw(st.integers(1, 30))]
    message = answer(QUESTION, stop=["never in any answer", stop])
    assert whole[: whole.index(stop)] == message.text
    assert Finish("stop") == message.finish


def test_the_first_of_several_stop_sequences_counts() -> None:
    whole = answer(QUESTION).text
    assert whole[: whole.index("## ")] == answer(QUESTION, stop=["Every stream", "## "]).text


def test_a_stop_sequence_that_is_not_finished_within_the_limit_does_not_count() -> None:
    pieces = split(answer(QUESTION).text)
    stop = "".join(pieces[4:7])
    assert (Finish("length"), "".join(pieces[:6])) == _ended(answer(QUESTION, stop=[stop], max_tokens=6))
    assert (Finish("stop"), "".join(pieces[:4])) == _ended(answer(QUESTION, stop=[stop], max_tokens=7))


def test_a_stop_sequence_at_the_very_beginning_leaves_nothing() -> None:
    message = answer(QUESTION, stop=answer(QUESTION).text[:3])
    assert (Finish("stop"), "") == _ended(message)
    assert message.usage is not None
    assert 0 == message.usage.output_tokens


def _ended(message: Message) -> tuple[Finish | None, str]:
    return message.finish, message.text


@given(st.integers(1, 300), st.sampled_from([None, "\n", "stream", " is", "e"]))
@settings(max_examples=40, deadline=None)
def test_usage_is_what_was_sent(limit: int, stop: str | None) -> None:
    events: list[Event] = list(MODEL.events(Request.of("What is a buffer?", max_tokens=limit, stop=stop, system="Be short.")))
    deltas = [event for event in events if isinstance(event, TextDelta)]
    usage = events[-2]
    assert isinstance(usage, Usage)
    assert len(deltas) == usage.output_tokens
    assert count("What is a buffer?") + count("Be short.") == usage.input_tokens
    assert all(delta.text for delta in deltas)


def test_all_messages_count_as_input() -> None:
    turns = [Turn("system", "Be short."), Turn("user", "hello there"), Turn("assistant", "Hi!"), Turn("user", "bye")]
    message = answer(turns)
    assert message.usage is not None
    assert sum(count(turn.text) for turn in turns) == message.usage.input_tokens


@pytest.mark.parametrize(
    "question",
    [
        "Who won the world cup in 1998?",
        "How do I cook pasta?",
        "Can you close the window?",
        "write a haiku about a river stream",
        "How can I stop my dog from closing the door?",
        "什么是流?",
        "что такое буфер?",
        "hello",
    ],
)
def test_a_question_that_nothing_fits_is_told_so_and_the_topics_are_listed(question: str) -> None:
    text = answer(question, temperature=0).text
    assert text.startswith("I only know streamkit's own documentation, and nothing in it fits that question.")
    assert [f"**{page.title}**" for page in index().pages] == re.findall(r"^- (\*\*.*?\*\*):", text, re.MULTILINE)
    assert question not in text


@pytest.mark.parametrize("question", ["", " \n\t ", "?!", "what is it", "\x00\x1b[\x07", "\u202e\ufeff"])
def test_a_message_without_words_is_asked_for_a_question(question: str) -> None:
    assert answer(question, temperature=0).text.startswith("There is no question in what you sent")


def test_a_conversation_without_a_user_is_asked_for_a_question() -> None:
    assert "no question" in answer([Turn("assistant", "hi")], temperature=0).text


@pytest.mark.parametrize("question", ["What is a \x00buffer\x1b[?", "buffer \ud800", "**buffer** <//> {0.} %% `overflow`"])
def test_odd_characters_do_no_harm_and_do_not_come_back(question: str) -> None:
    text = answer(question).text
    assert "buffers" in sources(text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\ud800]|<//>|\{0|%%", text)


@given(st.text(st.characters(), max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_text_gets_a_complete_answer(question: str) -> None:
    message = answer(question)
    assert message.complete
    assert message.text.endswith("\n")


@pytest.mark.parametrize(
    "huge",
    [
        "x" * 100_000,
        "stream " * 14_000,
        "a-" * 50_000,
        "a_B" * 33_000,
        "\u0301" * 100_000,
        " ".join(f"w{n}" for n in range(16_000)),
    ],
    ids=["one word", "one word repeated", "hyphens", "compound", "accents", "all different"],
)
def test_a_huge_question_takes_linear_time(huge: str) -> None:
    started = time.process_time()
    message = answer(huge)
    # About 0.1 s; anything quadratic takes minutes, so the bound may be wide.
    assert time.process_time() - started < 3
    assert message.complete
    assert len(message.text) < 10_000


def test_a_long_question_is_still_answered_when_its_point_is_in_it() -> None:
    story = "We run a shop in Lyon with nine vans and a warehouse near the river, and our assistant answers. "
    text = answer(
        story * 3
        + "When the client disconnects the source must be closed and no task left: how is it closed on cancel, break or error?"
    ).text
    assert "closing" == sources(text)[0]


def test_a_follow_up_is_read_in_the_light_of_the_question_before() -> None:
    turns = [Turn("user", "What is a buffer?"), Turn("assistant", "..."), Turn("user", "And what happens then?")]
    assert "buffers" == sources(answer(turns).text)[0]


def test_the_last_question_outweighs_the_earlier_ones() -> None:
    turns = [Turn("user", "What is a buffer?"), Turn("assistant", "..."), Turn("user", "How do I install it with pip?")]
    assert "install" == sources(answer(turns).text)[0]


def test_an_unknown_topic_is_not_rescued_by_an_earlier_question() -> None:
    turns = [Turn("user", "What is a buffer?"), Turn("assistant", "..."), Turn("user", "How do I cook pasta?")]
    assert [] == sources(answer(turns).text)


def test_the_schedule_keeps_the_pace() -> None:
    due = [at for at, event in LocalModel(pace=20).schedule(Request.of(QUESTION, max_tokens=40)) if isinstance(event, TextDelta)]
    assert [number / 20 for number in range(1, 41)] == due
    assert 0.05 == LocalModel(pace=20).interval


def test_without_a_pace_everything_is_due_at_once() -> None:
    assert {0.0} == {at for at, _ in MODEL.schedule(Request.of(QUESTION))}
    assert 0.0 == MODEL.interval


def test_an_answer_can_be_left_at_any_event() -> None:
    model = LocalModel()
    request = Request.of(QUESTION, max_tokens=5)
    for step in range(9):
        events = model.schedule(request)
        taken = [event for _, (_, event) in zip(range(step), events, strict=False)]
        events.close()
        assert step >= len(taken) == min(step, 8)
        assert [] == list(events)


@pytest.mark.parametrize("pace", [0, -1, float("nan"), float("inf"), "fast", True])
def test_a_pace_that_is_no_rate_is_refused_at_the_call(pace: Any) -> None:
    with pytest.raises(ConfigError, match="pace is tokens per second"):
        LocalModel(pace=pace)
