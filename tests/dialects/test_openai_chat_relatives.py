"""What the relatives of OpenAI's chat completions do their own way, a test for each, on bodies written by hand."""

from __future__ import annotations

import pytest
from dialect_cases import Reading, read

from streamkit.dialects.openai_chat import OpenAIChatDecoder
from streamkit.errors import (
    AuthError,
    BadRequestError,
    ContentBlockedError,
    OverloadedError,
    RateLimitError,
    RemoteProtocolError,
    SourceError,
    StreamTruncated,
)
from streamkit.events import (
    Citation,
    DataDelta,
    Event,
    File,
    Finish,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStart,
    ToolResult,
    Usage,
)

DONE = b"data: [DONE]\n\n"
HI = b'data: {"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def reading(*body: bytes) -> Reading:
    """A body, byte by byte."""
    whole = b"".join(body)
    return read(OpenAIChatDecoder(), [whole[at : at + 1] for at in range(len(whole))])


def data(*chunks: str) -> bytes:
    return b"".join(b"data: %b\n\n" % chunk.encode() for chunk in chunks)


def delta(inside: str, reason: str = "null") -> str:
    return f'{{"id":"a","model":"m","choices":[{{"index":0,"delta":{inside},"finish_reason":{reason}}}]}}'


def told(*body: bytes) -> list[Event]:
    """The events of a whole answer, without its Start."""
    got = reading(*body)
    assert got.error is None
    assert isinstance(got.events[0], Start)
    return got.events[1:]


def failed(*body: bytes) -> tuple[str, SourceError]:
    """The text before a provider's error, and the error."""
    got = reading(*body)
    assert isinstance(got.error, SourceError)
    assert not any(isinstance(event, Finish) for event in got.events)
    return got.message.text, got.error


def calls(*body: bytes) -> list[tuple[str, str, str]]:
    """Name, id and arguments of the calls of a whole answer; what was streamed of each is what it holds in the end."""
    events = told(*body)
    assert isinstance(events[-1], Finish)
    whole = [event for event in events if isinstance(event, ToolCall)]
    started = [event.id for event in events if isinstance(event, ToolCallStart)]
    assert started == [call.id for call in whole]
    for call in whole:
        assert call.arguments == "".join(
            event.delta for event in events if isinstance(event, ToolCallDelta) and event.id == call.id
        )
        assert call.complete
    return [(call.name, call.id, call.arguments) for call in whole]


# ---- Azure --------------------------------------------------------------------------------------


def test_azure_prompt_filter_results_before_the_answer_are_no_start() -> None:
    filtered = '{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}'
    assert Start("a", "m") == reading(data(filtered), HI, STOP, DONE).events[0]


def test_azure_annotations_of_the_asynchronous_filter_have_no_delta_and_take_no_reason_back() -> None:
    note = (
        '{"id":"","object":"","created":0,"model":"","choices":[{"index":0,"finish_reason":null,"content_filter_results":{},'
        '"content_filter_offsets":{"check_offset":44,"start_offset":44,"end_offset":198}}],"usage":null}'
    )
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(HI, data(note), STOP, data(note), DONE)


def test_azure_null_delta_with_the_reason_is_an_end() -> None:
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(HI, data(delta("null", '"stop"')), DONE)


def test_azure_filter_in_the_middle_ends_the_answer_as_filtered() -> None:
    assert Finish("content-filter", "content_filter") == told(HI, data(delta("{}", '"content_filter"')), DONE)[-1]


def test_azure_filter_as_an_error_is_blocked_content() -> None:
    said = (
        '{"error":{"code":"content_filter","message":"filtered","innererror":{"code":"ResponsibleAIPolicyViolation"},"status":400}}'
    )
    text, error = failed(HI, data(said))
    assert ("Hi", ContentBlockedError) == (text, type(error))


# ---- DeepSeek -----------------------------------------------------------------------------------


def test_deepseek_reasoning_comes_first_with_null_content_beside_it() -> None:
    body = data(
        delta('{"role":"assistant","content":null,"reasoning_content":"hm"}'), delta('{"content":"Hi","reasoning_content":null}')
    )
    assert [ReasoningDelta("hm"), TextDelta("Hi"), Finish("stop", "stop")] == told(body, STOP, DONE)


def test_deepseek_cache_hits_are_counted_with_choices_present() -> None:
    last = (
        '{"id":"a","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,'
        '"completion_tokens":2,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":1,'
        '"completion_tokens_details":{"reasoning_tokens":1}}}'
    )
    assert Usage(9, 2, 8, reasoning_tokens=1) == told(HI, data(last), DONE)[-2]


def test_deepseek_out_of_resources_is_an_overload_and_no_answer() -> None:
    text, error = failed(HI, data(delta("{}", '"insufficient_system_resource"')), DONE)
    assert ("Hi", OverloadedError, True) == (text, type(error), error.retryable)


def test_deepseek_keep_alive_comments_and_empty_data_are_no_events() -> None:
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(
        b": keep-alive\n\ndata:\n\ndata: \n\n", HI, b": keep-alive\n\n", STOP, DONE
    )


# ---- Groq ---------------------------------------------------------------------------------------


def test_groq_usage_is_in_a_field_of_its_own() -> None:
    last = (
        '{"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r",'
        '"usage":{"prompt_tokens":3,"completion_tokens":1}}}'
    )
    assert Usage(3, 1) == told(HI, data(last), DONE)[-2]


def test_groq_error_in_its_own_field_ends_the_answer() -> None:
    last = '{"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"error"}],"x_groq":{"id":"r","error":"over capacity"}}'
    text, error = failed(HI, data(last), DONE)
    assert "Hi" == text
    assert "over capacity" in str(error)


def test_groq_error_event_with_a_failed_generation_is_a_bad_request() -> None:
    said = (
        '{"error":{"message":"Failed to call a function.","type":"invalid_request_error",'
        '"code":"tool_use_failed","failed_generation":"<f>","status_code":400}}'
    )
    text, error = failed(HI, b"event: error\n", data(said), DONE)
    assert ("Hi", BadRequestError, "tool_use_failed", 400) == (text, type(error), error.code, error.status)


def test_groq_tools_that_it_ran_itself_are_calls_of_the_server_with_results_and_sources() -> None:
    asked = '{"index":0,"type":"search","arguments":"{\\"query\\": \\"rain\\"}"'
    found = '"search_results":{"results":[{"title":"Sky","url":"https://sky.example","content":"wet","score":0.9}]}'
    got = told(
        data(
            delta('{"reasoning":"Look it up."}'),
            delta(f'{{"executed_tools":[{asked},"search_results":{{"results":[]}}}}]}}'),
            delta(f'{{"executed_tools":[{asked},"output":"Title: Sky",{found}}}]}}'),
            delta('{"executed_tools":[{"index":1,"type":"python","arguments":"1+1","output":"2","code_results":[{"text":"2"}]}]}'),
            delta('{"content":"Rain."}'),
            delta("{}", '"stop"'),
        ),
        DONE,
    )
    results = [{"title": "Sky", "url": "https://sky.example", "content": "wet", "score": 0.9}]
    assert [
        ReasoningDelta("Look it up."),
        ToolCallStart("call_a_0_0", "search", 0, 0, True),
        ToolCallDelta("call_a_0_0", '{"query": "rain"}', 0),
        ToolCall("call_a_0_0", "search", '{"query": "rain"}', True, 0, 0, True),
        ToolResult("call_a_0_0", {"output": "Title: Sky", "search_results": {"results": results}}),
        Citation("https://sky.example", "Sky"),
        ToolCallStart("call_a_0_1", "python", 1, 0, True),
        ToolCallDelta("call_a_0_1", "1+1", 1),
        ToolCall("call_a_0_1", "python", "1+1", True, 1, 0, True),
        ToolResult("call_a_0_1", {"output": "2", "code_results": [{"text": "2"}]}),
        TextDelta("Rain."),
        Finish("stop", "stop"),
    ] == got


def test_groq_tells_a_result_again_and_it_is_given_once() -> None:
    ran = '{"executed_tools":[{"index":0,"type":"visit","arguments":"{}","output":"page","browser_results":[{"url":"https://a.example"}]}]}'
    got = told(data(delta(ran), delta(ran), delta("{}", '"stop"')), DONE)
    assert 1 == len([event for event in got if isinstance(event, ToolResult)])
    assert [Citation("https://a.example")] == [event for event in got if isinstance(event, Citation)]


def test_a_call_without_an_index_does_not_go_on_with_a_tool_that_groq_ran() -> None:
    ran = '{"executed_tools":[{"index":0,"type":"search","arguments":"{}","output":"o"}]}'
    ours = '{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}'
    old = '{"function_call":{"name":"g","arguments":"[]"}}'
    got = told(data(delta(ran), delta(ours), delta(old), delta("{}", '"tool_calls"')), DONE)
    assert [
        ToolCall("call_a_0_0", "search", "{}", True, 0, 0, True),
        ToolCall("call_a_0_1", "f", "{}", True, 1),
        ToolCall("call_a_0_2", "g", "[]", True, 2),
    ] == [event for event in got if isinstance(event, ToolCall)]


def test_groq_reasoning_is_called_reasoning() -> None:
    assert ReasoningDelta("hm") == told(data(delta('{"role":"assistant","reasoning":"hm"}')), HI, STOP, DONE)[0]


# ---- Mistral ------------------------------------------------------------------------------------


def test_mistral_content_is_a_list_of_thoughts_and_texts() -> None:
    body = data(
        delta('{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}'),
        delta('{"content":[{"type":"text","text":"H"},{"type":"reference","reference_ids":[1]},{"type":"text","text":"i"}]}'),
    )
    assert [ReasoningDelta("hm"), TextDelta("H"), TextDelta("i"), Finish("stop", "stop")] == told(body, STOP, DONE)


def test_mistral_whole_calls_come_in_one_chunk_with_the_reason() -> None:
    two = (
        '[{"id":"x","function":{"name":"add","arguments":"{\\"a\\":1}"},"index":0},{"id":"y",'
        '"function":{"name":"add","arguments":"{}"},"index":1}]'
    )
    assert [("add", "x", '{"a":1}'), ("add", "y", "{}")] == calls(
        data(delta(f'{{"content":"","tool_calls":{two}}}', '"tool_calls"')), DONE
    )


def test_mistral_id_that_is_the_word_null_is_no_id() -> None:
    body = data(
        delta('{"tool_calls":[{"id":"null","index":0,"function":{"name":"add","arguments":""}}]}'),
        delta('{"tool_calls":[{"id":"null","index":0,"function":{"name":"","arguments":"{}"}}]}'),
    )
    assert [("add", "call_a_0_0", "{}")] == calls(body, STOP, DONE)


def test_mistral_model_length_is_length_and_its_error_an_error() -> None:
    assert Finish("length", "model_length") == told(HI, data(delta("{}", '"model_length"')), DONE)[-1]
    assert "Hi" == failed(HI, data(delta("{}", '"error"')), DONE)[0]


# ---- xAI ----------------------------------------------------------------------------------------


def test_xai_usage_on_every_chunk_counts_once_with_the_last_value() -> None:
    chunks = [
        f'{{"id":"a","choices":[{{"index":0,"delta":{{"content":"x"}}}}],"usage":{{"prompt_tokens":4,"completion_tokens":{n}}}}}'
        for n in (1, 2)
    ]
    assert [TextDelta("x"), TextDelta("x"), Usage(4, 2), Finish("stop", "stop")] == told(data(*chunks), STOP, DONE)


def test_xai_usage_in_the_last_but_one_chunk_is_kept() -> None:
    usage = '{"id":"a","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
    assert Usage(4, 2) == told(HI, STOP, data(usage, '{"id":"a","choices":[],"citations":[]}'), DONE)[-2]


def test_xai_error_with_text_beside_the_code() -> None:
    text, error = failed(HI, data('{"code":"The service is currently unavailable","error":"try later"}'))
    assert ("Hi", "The service is currently unavailable") == (text, error.code)
    assert "try later" in str(error)


def test_xai_citations_come_once_though_every_chunk_repeats_them() -> None:
    chunk = '{"id":"a","choices":[{"index":0,"delta":{"content":"x"}}],"citations":["https://a.test","https://b.test"]}'
    cited = [event for event in told(data(chunk, chunk), STOP, DONE) if isinstance(event, Citation)]
    assert [Citation("https://a.test"), Citation("https://b.test")] == cited


# ---- z.ai, Moonshot, MiniMax --------------------------------------------------------------------


@pytest.mark.parametrize(("word", "reason"), [("sensitive", "content-filter"), ("model_context_window_exceeded", "length")])
def test_zai_reasons_of_its_own(word: str, reason: str) -> None:
    assert (reason, word) == finish(told(HI, data(delta("{}", f'"{word}"')), DONE)[-1])


def finish(event: Event) -> tuple[str, str | None]:
    assert isinstance(event, Finish)
    return event.reason, event.raw_reason


def test_zai_network_error_as_a_reason_is_an_error_to_try_again() -> None:
    text, error = failed(HI, data(delta("{}", '"network_error"')), DONE)
    assert ("Hi", OverloadedError, "network_error") == (text, type(error), error.code)


def test_zai_error_with_a_code_of_digits_is_told_with_it() -> None:
    text, error = failed(HI, data('{"error":{"code":"1301","message":"unsafe"}}'))
    assert ("Hi", "1301") == (text, error.code)


def test_moonshot_usage_stands_in_the_choice_and_counts_cached_tokens_flat() -> None:
    last = (
        '{"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":7,'
        '"completion_tokens":2,"cached_tokens":5}}]}'
    )
    assert Usage(7, 2, 5) == told(HI, data(last), DONE)[-2]


def test_minimax_error_is_a_base_resp_without_choices() -> None:
    text, error = failed(HI, data('{"id":"a","choices":null,"base_resp":{"status_code":1002,"status_msg":"rate limit"}}'))
    assert "Hi" == text
    assert "rate limit" in str(error)


def test_minimax_base_resp_of_zero_is_no_error() -> None:
    last = '{"id":"a","choices":null,"base_resp":{"status_code":0,"status_msg":""}}'
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(HI, STOP, data(last), DONE)


# ---- OpenRouter ---------------------------------------------------------------------------------


def test_openrouter_comments_are_no_events_and_its_provider_is_named() -> None:
    first = '{"id":"a","provider":"Harbour","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}]}'
    got = reading(b": OPENROUTER PROCESSING\n\n", data(first), b": OPENROUTER PROCESSING\n\n", STOP, DONE)
    assert [Start("a", "m", "Harbour"), TextDelta("Hi"), Finish("stop", "stop")] == got.events


def test_openrouter_error_beside_a_choice_beats_its_reason_and_names_its_kind() -> None:
    last = (
        '{"id":"a","error":{"code":502,"message":"gone","metadata":{"error_type":"overloaded","provider_name":"x"}},'
        '"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","native_finish_reason":"error"}]}'
    )
    text, error = failed(HI, data(last), DONE)
    assert ("Hi", OverloadedError, 502, "gone") == (text, type(error), error.status, str(error).rsplit(": ", 1)[1])


def test_openrouter_error_after_the_reason_beats_it() -> None:
    assert "Hi" == failed(HI, STOP, data('{"error":{"code":429,"message":"limit"}}'), DONE)[0]


def test_openrouter_images_are_files() -> None:
    image = '{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAE="}}]}'
    assert File("image/png", data=b"\x00\x01") == told(data(delta(image)), STOP, DONE)[0]


# ---- Perplexity ---------------------------------------------------------------------------------


def test_perplexity_whole_message_on_every_chunk_is_not_told_twice() -> None:
    chunks = [
        f'{{"id":"a","choices":[{{"index":0,"message":{{"role":"assistant","content":"{so_far}"}},'
        f'"delta":{{"content":"{new}"}},"finish_reason":{reason}}}]}}'
        for so_far, new, reason in (("H", "H", "null"), ("Hi", "i", "null"), ("Hi", "", '"stop"'))
    ]
    assert [TextDelta("H"), TextDelta("i"), Finish("stop", "stop")] == told(data(*chunks), DONE)


def test_perplexity_sources_have_the_titles_of_its_search_results() -> None:
    chunk = (
        '{"id":"a","citations":["https://a.test"],"search_results":[{"title":"A","url":"https://a.test",'
        '"date":null}],"choices":[{"index":0,"delta":{"content":"x"}}]}'
    )
    assert Citation("https://a.test", "A") == told(data(chunk, chunk), STOP, DONE)[0]


# ---- Hugging Face, TGI --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("validation", BadRequestError), ("overloaded", OverloadedError), ("incomplete_generation", OverloadedError)],
)
def test_tgi_error_is_text_with_its_type_beside_it(kind: str, expected: type[SourceError]) -> None:
    text, error = failed(HI, data(f'{{"error":"Input is too long","error_type":"{kind}"}}'))
    assert ("Hi", expected, kind) == (text, type(error), error.code)


def test_tgi_error_of_newer_versions_holds_its_status() -> None:
    _, error = failed(data('{"error":{"message":"Input is too long","http_status_code":422}}'))
    assert (BadRequestError, 422) == (type(error), error.status)


@pytest.mark.parametrize("word", ["eos_token", "stop_sequence", "end_turn", "eos", "STOP", "COMPLETE"])
def test_words_for_a_plain_end(word: str) -> None:
    assert ("stop", word) == finish(told(HI, data(delta("{}", f'"{word}"')), DONE)[-1])


def test_tgi_end_without_a_space_after_the_colon_is_read() -> None:
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(HI.replace(b"data: ", b"data:"), STOP, b"data:[DONE]\n\n")


# ---- vLLM, SGLang -------------------------------------------------------------------------------


def test_vllm_error_in_the_stream_is_a_bad_request_though_the_end_marker_follows() -> None:
    said = '{"error":{"object":"error","message":"not multimodal","type":"BadRequestError","param":null,"code":400}}'
    assert BadRequestError is type(failed(data(said), DONE)[1])


def test_vllm_bare_error_object_is_an_error() -> None:
    said = '{"object":"error","message":"engine died","type":"InternalServerError","param":null,"code":500}'
    text, error = failed(HI, data(said), DONE)
    assert ("Hi", OverloadedError) == (text, type(error))


def test_vllm_calls_that_all_have_index_zero_begin_with_a_new_id_and_a_name() -> None:
    body = data(
        *(
            delta(
                f'{{"tool_calls":[{{"index":0,"id":"{id}","type":"function","function":{{"name":{name},'
                f'"arguments":"{arguments}"}}}}]}}'
            )
            for id, name, arguments in (("x", '"add"', ""), ("", "null", "{}"), ("y", '"add"', ""), ("", "null", "[]"))
        )
    )
    assert [("add", "x", "{}"), ("add", "y", "[]")] == calls(body, STOP, DONE)


def test_vllm_name_repeated_in_every_delta_is_one_call() -> None:
    body = data(
        *(
            delta(f'{{"tool_calls":[{{"index":0,"function":{{"name":"add","arguments":"{part}"}}}}]}}')
            for part in ("", '{\\"a\\":', "1", "}")
        )
    )
    assert [("add", "call_a_0_0", '{"a":1}')] == calls(body, STOP, DONE)


def test_a_new_id_and_the_name_in_every_delta_is_one_call_until_its_arguments_are_whole() -> None:
    parts = ('{\\"a\\":{\\"b\\":1}', "}", '{\\"a\\"', ":2}")
    for index in ('"index":0,', ""):
        body = data(
            *(
                delta(f'{{"tool_calls":[{{{index}"id":"r{n}","function":{{"name":"add","arguments":"{part}"}}}}]}}')
                for n, part in enumerate(parts)
            )
        )
        assert [("add", "r0", '{"a":{"b":1}}'), ("add", "r2", '{"a":2}')] == calls(body, STOP, DONE)


def test_sglang_ids_that_are_repeated_tell_calls_of_one_index_apart() -> None:
    body = data(
        *(
            delta(f'{{"tool_calls":[{{"index":0,"id":"{id}","function":{{"name":{name},"arguments":"{arguments}"}}}}]}}')
            for id, name, arguments in (("0", '"add"', ""), ("0", "null", "{}"), ("1", '"sub"', ""), ("1", "null", "{}"))
        )
    )
    assert [("add", "0", "{}"), ("sub", "1", "{}")] == calls(body, STOP, DONE)


def test_vllm_abort_is_a_cancelled_answer() -> None:
    assert ("cancelled", "abort") == finish(told(HI, data(delta("{}", '"abort"')), DONE)[-1])


# ---- llama.cpp, LM Studio, Ollama ---------------------------------------------------------------


def test_llamacpp_error_of_older_servers_is_no_field_of_the_wire_and_the_answer_is_truncated() -> None:
    got = reading(HI, b'error: {"code":500,"message":"failed"}\n\n')
    assert isinstance(got.error, StreamTruncated)
    assert "Hi" == got.message.text


def test_llamacpp_error_is_an_error_with_a_code() -> None:
    text, error = failed(HI, data('{"error":{"code":500,"message":"Compute error.","type":"server_error"}}'))
    assert ("Hi", OverloadedError) == (text, type(error))


def test_llamacpp_timings_and_progress_are_no_events() -> None:
    progress = '{"id":"a","choices":[],"prompt_progress":{"total":9,"processed":3},"timings":{"prompt_n":1}}'
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(data(progress), HI, STOP, DONE)


def test_lm_studio_error_event_with_the_message_twice() -> None:
    text, error = failed(HI, b"event: error\n", data('{"error":{"message":"Compute error."},"message":"Compute error."}'))
    assert "Hi" == text
    assert 1 == str(error).count("Compute error.")


def test_ollama_whole_call_with_arguments_as_an_object() -> None:
    call = '{"content":"","tool_calls":[{"id":"c","index":0,"type":"function","function":{"name":"add","arguments":{"a":1}}}]}'
    assert [("add", "c", '{"a":1}')] == calls(data(delta(call, '"tool_calls"')), DONE)


def test_ollama_error_has_null_for_a_code() -> None:
    text, error = failed(HI, data('{"error":{"message":"runner died","type":"api_error","param":null,"code":null}}'))
    assert ("Hi", OverloadedError) == (text, type(error))


# ---- Together, Fireworks, Cerebras, SambaNova, NVIDIA NIM ---------------------------------------


def test_together_reason_comes_with_an_empty_text_beside_the_delta() -> None:
    chunk = (
        '{"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"text":"Hi","logprobs":null,'
        '"finish_reason":"eos","seed":1,"delta":{"token_id":1,"role":"assistant","content":"Hi",'
        '"tool_calls":null}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    )
    assert [TextDelta("Hi"), Usage(1, 1), Finish("stop", "eos")] == told(data(chunk), DONE)


def test_fireworks_error_is_an_object_error_inside_an_error() -> None:
    text, error = failed(
        HI, data('{"error":{"object":"error","type":"internal_server_error","message":"server had an error"}}'), DONE
    )
    assert ("Hi", OverloadedError) == (text, type(error))


def test_cerebras_bare_error_with_message_and_code() -> None:
    text, error = failed(
        HI,
        data(
            '{"message":"Too many requests","type":"too_many_requests_error","param":"quota",'
            '"code":"request_quota_exceeded","status_code":429}'
        ),
    )
    assert ("Hi", RateLimitError, 429) == (text, type(error), error.status)


def test_sambanova_error_has_its_status_outside() -> None:
    _, error = failed(HI, data('{"error":{"message":"busy","type":"Error"},"status_code":503}'))
    assert (OverloadedError, 503) == (type(error), error.status)


def test_nim_problem_without_a_detail_is_an_error() -> None:
    _, error = failed(HI, data('{"type":"about:blank","status":429,"title":"Too Many Requests"}'))
    assert (RateLimitError, 429) == (type(error), error.status)


def test_nim_detail_alone_is_an_error() -> None:
    assert "not found for account" in str(failed(data('{"status":404,"title":"Not Found","detail":"not found for account"}'))[1])


# ---- LiteLLM proxy, and proxies in general ------------------------------------------------------


def test_litellm_error_says_none_and_digits_as_words() -> None:
    _, error = failed(HI, data('{"error":{"message":"litellm.AuthenticationError","type":"None","param":"None","code":"401"}}'))
    assert (AuthError, 401) == (type(error), error.status)


def test_litellm_usage_with_anthropics_cache_counts() -> None:
    usage = (
        '{"id":"a","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,'
        '"cache_creation_input_tokens":3,"cache_read_input_tokens":5}}'
    )
    assert Usage(9, 1, 5, 3) == told(HI, STOP, data(usage), DONE)[-2]


@pytest.mark.parametrize(
    "said",
    [
        '{"errors":[{"message":"no such model","code":7003}],"success":false}',
        '{"errors":{"message":"no such model"}}',
        '{"errors":["no such model"]}',
        '{"code":500,"msg":"no such model","success":false}',
        '{"error_code":17,"error_msg":"no such model"}',
        '{"error":{"detail":"no such model"}}',
        '[{"error":{"message":"no such model"}}]',
    ],
)
def test_a_gateways_error_is_found_where_it_stands(said: str) -> None:
    got = reading(HI, b"event: error\n" if said.startswith("[") else b"", data(said), DONE)
    assert isinstance(got.error, SourceError)
    assert "no such model" in str(got.error)


def test_a_whole_answer_in_one_frame_is_told_and_not_lost() -> None:
    body = (
        '{"id":"a","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi",'
        '"reasoning_content":"hm","tool_calls":[{"id":"x","type":"function","function":{"name":"add","arguments":"{}"}}]},'
        '"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
    )
    expected = [
        ReasoningDelta("hm"),
        TextDelta("Hi"),
        ToolCallStart("x", "add"),
        ToolCallDelta("x", "{}"),
        ToolCall("x", "add", "{}"),
        Usage(1, 2),
        Finish("tool-calls", "tool_calls"),
    ]
    assert expected == told(data(body), DONE)


@pytest.mark.parametrize(
    "ping", ["event: ping\ndata: {}\n\n", "event: ping\ndata: 2026-01-01T00:00:00Z\n\n", 'data: {"type":"ping"}\n\n', ":\n\n"]
)
def test_pings_of_proxies_are_no_events(ping: str) -> None:
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(ping.encode(), HI, ping.encode(), STOP, DONE)


# ---- Gemini's endpoint for OpenAI's clients -----------------------------------------------------


def test_gemini_calls_have_no_index_and_come_whole() -> None:
    body = data(
        '{"id":"a","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"id":"x",'
        '"type":"function","extra_content":{"google":'
        '{"thought_signature":"s"}},"function":{"name":"add","arguments":"{\\"a\\":1}"}},{"id":"y",'
        '"type":"function","function":{"name":"add",'
        '"arguments":"{}"}}]}}]}',
        delta("{}", '"stop"'),
    )
    assert [("add", "x", '{"a":1}'), ("add", "y", "{}")] == calls(body, DONE)


@pytest.mark.parametrize("id", ['"x"', "7"], ids=["as it should be", "with an odd type beside it"])
def test_gemini_signs_a_call(id: str) -> None:
    signed = (
        '{"id":%s,"type":"function","extra_content":{"google":{"thought_signature":"s"}},"function":{"name":"f","arguments":"{}"}}'
    )
    plain = '{"id":"y","type":"function","extra_content":null,"function":{"name":"f","arguments":"{}"}}'
    body = data(delta(f'{{"tool_calls":[{signed % id},{plain}]}}', '"stop"'))
    given = [event for event in told(body, DONE) if isinstance(event, ToolCall)]
    assert [("s", True), (None, True)] == [(call.signature, call.complete) for call in given]


def test_a_signature_may_come_behind_the_arguments() -> None:
    first = '{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{}"}}]}'
    late = '{"tool_calls":[{"index":0,"extra_content":{"google":{"thought_signature":"s"}}}]}'
    later = '{"tool_calls":[{"index":0,"extra_content":{"google":"?"}}]}'
    given = told(data(delta(first)), data(delta(late)), data(delta(later, '"stop"')), DONE)
    assert [ToolCall("x", "f", "{}", signature="s")] == [event for event in given if isinstance(event, ToolCall)]


def test_gemini_calls_with_a_null_index_and_an_empty_id_are_told_apart() -> None:
    one = '{"index":null,"id":"","type":"function","function":{"name":"add","arguments":"{\\"a\\":1}"}}'
    body = data(delta(f'{{"tool_calls":[{one}]}}'), delta(f'{{"tool_calls":[{one}]}}', '"tool_calls"'))
    assert [("add", "call_a_0_0", '{"a":1}'), ("add", "call_a_0_1", '{"a":1}')] == calls(body, DONE)


def test_gemini_arguments_split_over_deltas_without_index_and_id_are_one_call() -> None:
    body = data(
        delta('{"tool_calls":[{"id":"x","function":{"name":"add","arguments":"{\\"a\\""}}]}'),
        delta('{"tool_calls":[{"function":{"arguments":":1}"}}]}'),
        delta('{"extra_content":{"google":{"thought_signature":"s"}}}', '"stop"'),
    )
    assert [("add", "x", '{"a":1}')] == calls(body, DONE)


def test_calls_without_index_id_and_arguments_are_told_apart_by_name() -> None:
    body = data(*(delta(f'{{"tool_calls":[{{"function":{{"name":"{name}","arguments":""}}}}]}}') for name in ("now", "here")))
    assert [("now", "call_a_0_0", ""), ("here", "call_a_0_1", "")] == calls(body, STOP, DONE)


def test_gemini_thoughts_are_marked_beside_the_content_and_lose_their_marks_inside_it() -> None:
    thought = '"extra_content":{"google":{"thought":true}}'
    body = data(
        delta(f'{{"content":"<thought>one",{thought}}}'),
        delta(f'{{"content":" two",{thought}}}'),
        delta('{"content":"</thought>Hi"}'),
        delta('{"content":" you"}'),
    )
    expected = [ReasoningDelta("one"), ReasoningDelta(" two"), TextDelta("Hi"), TextDelta(" you"), Finish("stop", "stop")]
    assert expected == told(body, STOP, DONE)


def test_gemini_thought_that_ends_inside_its_own_chunk() -> None:
    thought = '{"content":"<thought>one</thought>","extra_content":{"google":{"thought":true}}}'
    assert [ReasoningDelta("one"), TextDelta("Hi"), Finish("stop", "stop")] == told(data(delta(thought)), HI, STOP, DONE)


def test_gemini_error_is_a_list_with_a_status_in_words() -> None:
    _, error = failed(HI, data('{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}'))
    assert (OverloadedError, 503) == (type(error), error.status)


@pytest.mark.parametrize("word", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII"])
def test_gemini_reasons_of_blocked_content(word: str) -> None:
    assert ("content-filter", word) == finish(told(HI, data(delta("{}", f'"{word}"')), DONE)[-1])


# ---- odd, whoever sends it ----------------------------------------------------------------------


def test_several_choices_are_told_apart_and_finish_each() -> None:
    both = '{"id":"a","choices":[{"index":0,"delta":{"content":"x"}},{"index":1,"delta":{"content":"y"}}]}'
    ends = '{"id":"a","choices":[{"index":1,"delta":{},"finish_reason":"length"},{"index":0,"delta":{},"finish_reason":"stop"}]}'
    expected = [TextDelta("x"), TextDelta("y", choice=1), Finish("stop", "stop"), Finish("length", "length", 1)]
    assert expected == told(data(both, ends), DONE)


@pytest.mark.parametrize("reason", ['""', "null"])
def test_an_empty_reason_is_none_and_the_end_marker_completes_with_other(reason: str) -> None:
    assert ("other", None) == finish(told(HI, data(delta("{}", reason)), DONE)[-1])


def test_an_empty_reason_without_the_end_marker_is_truncation() -> None:
    assert isinstance(reading(HI, data(delta("{}", '""'))).error, StreamTruncated)


@pytest.mark.parametrize(
    "odd", ['"choices":null', '"choices":[]', '"choices":[null]', '"choices":[{"index":0,"delta":null}]', '"choices":[{}]']
)
def test_chunks_that_say_nothing_are_no_events(odd: str) -> None:
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(HI, data(f'{{"id":"a",{odd}}}'), STOP, DONE)


@pytest.mark.parametrize(
    "inside",
    ['{"role":"assistant"}', '{"role":"assistant","content":null}', '{"content":""}', '{"tool_calls":[]}', '{"tool_calls":null}'],
)
def test_deltas_that_say_nothing_are_no_events(inside: str) -> None:
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(data(delta(inside)), HI, STOP, DONE)


@pytest.mark.parametrize(
    "thought",
    ['{"text":"hm"}', '{"content":"hm"}', '{"summary":[{"text":"h"},{"text":"m"}]}', '[{"type":"text","text":"hm"}]', '"hm"'],
)
def test_reasoning_may_be_an_object_or_a_list(thought: str) -> None:
    assert ReasoningDelta("hm") == told(data(delta(f'{{"reasoning":{thought}}}')), HI, STOP, DONE)[0]


def test_audio_is_data_and_its_transcript_text() -> None:
    body = data(
        delta('{"audio":{"id":"s","transcript":"Hi"}}'), delta('{"audio":{"data":"AAE="}}'), delta('{"audio":{"expires_at":1}}')
    )
    assert [TextDelta("Hi"), DataDelta(b"\x00\x01", "audio/pcm"), Finish("stop", "stop")] == told(body, STOP, DONE)


def test_annotations_are_citations() -> None:
    note = (
        '{"content":"x","annotations":[{"type":"url_citation","url_citation":{"url":"https://a.test",'
        '"title":"A","content":"q","start_index":0,"end_index":1}}]}'
    )
    assert Citation("https://a.test", "A", "q") in told(data(delta(note)), STOP, DONE)


def test_errors_inside_a_choice_end_the_answer() -> None:
    last = '{"id":"a","choices":[{"index":0,"delta":{},"finish_reason":null,"error":{"code":429,"message":"limit"}}]}'
    text, error = failed(HI, data(last), DONE)
    assert ("Hi", RateLimitError) == (text, type(error))


def test_no_errors_are_no_error() -> None:
    chunk = '{"id":"a","error":null,"errors":[],"choices":[{"index":0,"delta":{"content":"Hi"},"error":null}]}'
    assert [TextDelta("Hi"), Finish("stop", "stop")] == told(data(chunk), STOP, DONE)


@pytest.mark.parametrize("depth", [500, 900])
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "refusal"])
def test_words_nested_deeper_than_can_be_followed_are_a_remote_protocol_error(field: str, depth: int) -> None:
    deep = data(delta(f'{{"{field}":{"[" * depth}"x"{"]" * depth}}}'))
    got = read(OpenAIChatDecoder(), [HI + deep])
    assert isinstance(got.error, RemoteProtocolError)
    assert "Hi" == got.message.text


def test_a_call_that_is_told_in_the_old_form_beside_the_new_is_one_call() -> None:
    both = [
        f'{{"function_call":{{"name":"f","arguments":"{piece}"}},'
        f'"tool_calls":[{{"index":0,"id":"c","type":"function","function":{{"name":"f","arguments":"{piece}"}}}}]}}'
        for piece in ("{", "}")
    ]
    got = told(data(*map(delta, both), delta('{"function_call":null,"tool_calls":null}', '"tool_calls"')), DONE)
    assert [ToolCallStart("c", "f"), ToolCallDelta("c", "{"), ToolCallDelta("c", "}"), ToolCall("c", "f", "{}")] == got[:-1]


def test_an_image_that_is_not_base64_is_given_as_it_came_and_costs_no_answer() -> None:
    image = '{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAE..."}}]}'
    got = told(data(delta(image), delta('{"content":"Here."}', '"stop"')), DONE)
    assert [File("image/png", url="data:image/png;base64,AAE..."), TextDelta("Here.")] == got[:-1]


def test_two_calls_of_one_id_are_told_apart() -> None:
    calls = [
        f'{{"tool_calls":[{{"index":{index},"id":"c","function":{{"name":"f","arguments":"{{\\"x\\":"}}}}]}}' for index in (0, 1)
    ]
    rests = [f'{{"tool_calls":[{{"index":{index},"id":"c","function":{{"arguments":"{index}}}"}}}}]}}' for index in (0, 1)]
    got = told(data(*map(delta, calls), *map(delta, rests), delta("{}", '"tool_calls"')), DONE)
    assert [ToolCall("c", "f", '{"x":0}'), ToolCall("call_a_0_1", "f", '{"x":1}', True, 1)] == got[-3:-1]
    assert ["c", "call_a_0_1", "c", "call_a_0_1"] == [event.id for event in got if isinstance(event, ToolCallDelta)]


def test_azure_names_the_documents_of_ones_own_that_it_read() -> None:
    context = (
        '{"role":"assistant","context":{"intent":"[]","citations":['
        '{"content":"wet","title":"Sky","url":"https://sky.example","filepath":"sky.md","chunk_id":"0"},'
        '{"content":"dry","title":null,"url":null,"filepath":"sand.md","chunk_id":"1"},'
        '{"content":"dry","title":null,"url":null,"filepath":"sand.md","chunk_id":"2"},'
        '{"content":"?","title":null,"url":"","filepath":null},7]}}'
    )
    got = told(data(delta(context), delta('{"content":"Rain [doc1]."}', '"stop"')), DONE)
    assert [
        Citation("https://sky.example", "Sky"),
        Citation(None, "sand.md"),
        TextDelta("Rain [doc1]."),
        Finish("stop", "stop"),
    ] == got


def test_nested_errors_without_end_cost_nothing() -> None:
    deep = '{"errors":' * 300 + "[]" + "}" * 300
    got = reading(HI, data(deep))
    assert isinstance(got.error, SourceError | RemoteProtocolError)


def test_an_error_with_an_empty_list_beside_it_is_told() -> None:
    text, error = failed(HI, data('{"detail":"gone","errors":[],"base_resp":[]}'))
    assert "Hi" == text
    assert "gone" in str(error)


def test_text_that_is_no_json_is_an_error_with_what_stood_before_it() -> None:
    got = reading(HI, data("upstream connect error or disconnect/reset before headers"))
    assert isinstance(got.error, RemoteProtocolError)
    assert "Hi" == got.message.text
