// Each client of npm reads one answer and tells what it got: text, reasoning, tools, how it ended, and its error.
// `stop` is a number of characters behind which the reader leaves, in the client's own way.
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { fetchEventSource } from "@microsoft/fetch-event-source";
import * as ai7 from "ai";
import * as ai6 from "ai6";
import { EventSource } from "eventsource";
import { createParser } from "eventsource-parser";
import OpenAI from "openai";
import { answer, failure } from "./session.mjs";

// What fetch-event-source thinks that it runs in; without the document in the window that others know a browser by.
globalThis.window ??= { fetch, setTimeout, clearTimeout };
globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };

const openai = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const anthropic = (url) => new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const asked = { model: "m", messages: [{ role: "user", content: "Hi" }] };

// Runs `read(got)`; what it raises is `got.error`, beside what it had gathered.
async function gathered(read) {
    const got = { text: "", reasoning: "", tools: [], finish: null, error: null };
    try {
        await read(got);
    } catch (error) {
        got.error = { ...failure(error), status: error?.status ?? error?.statusCode ?? null };
    }
    return got;
}

const enough = (got, stop) => stop && got.text.length >= stop;

const openaiChatRaw = ({ url, stop }) =>
    gathered(async (got) => {
        const stream = await openai(url).chat.completions.create({ ...asked, stream: true });
        for await (const chunk of stream) {
            for (const { delta, finish_reason: reason } of chunk.choices) {
                got.text += delta.content ?? "";
                got.reasoning += delta.reasoning_content ?? "";
                for (const { index, function: called } of delta.tool_calls ?? []) {
                    got.tools[index] ??= { name: "", arguments: "" };
                    got.tools[index].name += called.name ?? "";
                    got.tools[index].arguments += called.arguments ?? "";
                }
                got.finish = reason ?? got.finish;
            }
            if (chunk.usage) got.usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
            if (enough(got, stop)) break;
        }
    });

const openaiChatStream = ({ url, stop }) =>
    gathered(async (got) => {
        const stream = openai(url).chat.completions.stream(asked);
        stream.on("content", (delta) => {
            got.text += delta;
            if (enough(got, stop)) stream.abort();
        });
        const whole = await stream.finalChatCompletion();
        const { message, finish_reason: reason } = whole.choices[0];
        got.same = message.content === got.text || (message.content === null && got.text === "");
        got.tools = (message.tool_calls ?? []).map(({ function: called }) => ({ name: called.name, arguments: called.arguments }));
        got.reasoning = message.reasoning_content ?? "";
        got.finish = reason;
        got.usage = whole.usage && [whole.usage.prompt_tokens, whole.usage.completion_tokens];
    });

const openaiResponsesRaw = ({ url, stop }) =>
    gathered(async (got) => {
        const stream = await openai(url).responses.create({ model: "m", input: "Hi", stream: true });
        let next = 0;
        for await (const event of stream) {
            if (event.sequence_number !== next++) throw new Error(`number ${event.sequence_number} came for ${next - 1}`);
            responsesEvent(got, event);
            if (enough(got, stop)) break;
        }
    });

const openaiResponsesStream = ({ url, stop }) =>
    gathered(async (got) => {
        const stream = openai(url).responses.stream({ model: "m", input: "Hi" });
        for await (const event of stream) {
            responsesEvent(got, event);
            if (enough(got, stop)) stream.abort();
        }
        const whole = await stream.finalResponse();
        got.same = whole.output_text === got.text;
        got.finish = whole.status;
    });

function responsesEvent(got, event) {
    switch (event.type) {
        case "response.output_text.delta":
            got.text += event.delta;
            break;
        case "response.reasoning_summary_text.delta":
            got.reasoning += event.delta;
            break;
        case "response.output_item.done":
            if (event.item.type === "function_call") got.tools.push({ name: event.item.name, arguments: event.item.arguments });
            break;
        case "response.completed":
        case "response.incomplete":
        case "response.failed":
            got.finish = event.response.status;
            got.usage = event.response.usage && [event.response.usage.input_tokens, event.response.usage.output_tokens];
            break;
        case "error":
            got.told = event.message;
    }
}

const anthropicRaw = ({ url, stop }) =>
    gathered(async (got) => {
        const stream = await anthropic(url).messages.create({ ...asked, max_tokens: 9, stream: true });
        for await (const event of stream) {
            if (event.type === "content_block_start" && event.content_block.type === "tool_use")
                got.tools.push({ name: event.content_block.name, arguments: "" });
            if (event.type === "content_block_delta") {
                got.text += event.delta.text ?? "";
                got.reasoning += event.delta.thinking ?? "";
                if (event.delta.type === "input_json_delta") got.tools.at(-1).arguments += event.delta.partial_json;
            }
            if (event.type === "message_delta") {
                got.finish = event.delta.stop_reason;
                got.usage = [event.usage.input_tokens, event.usage.output_tokens];
            }
            if (enough(got, stop)) break;
        }
    });

const anthropicStream = ({ url, stop }) =>
    gathered(async (got) => {
        const stream = anthropic(url).messages.stream({ ...asked, max_tokens: 9 });
        stream.on("text", (delta) => {
            got.text += delta;
            if (enough(got, stop)) stream.abort();
        });
        stream.on("thinking", (delta) => (got.reasoning += delta));
        const whole = await stream.finalMessage();
        got.same = whole.content.map((block) => block.text ?? "").join("") === got.text;
        got.tools = whole.content
            .filter((block) => block.type === "tool_use")
            .map((block) => ({ name: block.name, arguments: JSON.stringify(block.input) }));
        got.finish = whole.stop_reason;
        got.usage = [whole.usage.input_tokens, whole.usage.output_tokens];
    });

const aiCompatible = ({ streamText }) => ({ url, stop }) =>
    gathered(async (got) => {
        const provider = createOpenAICompatible({ name: "ours", baseURL: `${url}/v1`, apiKey: "none", includeUsage: true });
        const leaving = new AbortController();
        const tellingNobody = () => {};
        const result = streamText({
            model: provider("m"),
            prompt: "Hi",
            maxRetries: 0,
            abortSignal: leaving.signal,
            onError: tellingNobody,
        });
        for await (const part of result.fullStream) {
            if (part.type === "text-delta") got.text += part.text;
            if (part.type === "reasoning-delta") got.reasoning += part.text;
            if (part.type === "tool-call") got.tools.push({ name: part.toolName, arguments: JSON.stringify(part.input) });
            if (part.type === "abort") got.finish = "abort";
            if (part.type === "error") got.error ??= { ...failure(part.error), status: part.error?.statusCode ?? null };
            if (part.type === "finish") {
                got.finish = part.finishReason;
                got.usage = [part.totalUsage.inputTokens ?? null, part.totalUsage.outputTokens ?? null];
            }
            if (enough(got, stop)) leaving.abort();
        }
    });

// ---- clients of server-sent events, which read the native form

function nativeEvent(got, data) {
    const event = JSON.parse(data);
    (got.kinds ??= []).push(event.type);
    switch (event.type) {
        case "text-delta":
            got.text += event.text;
            break;
        case "reasoning-delta":
            got.reasoning += event.text;
            break;
        case "tool-call":
            got.tools.push({ name: event.name, arguments: event.arguments });
            break;
        case "usage":
            got.usage = [event.input_tokens, event.output_tokens];
            break;
        case "error":
            got.told = event.message;
            got.finish = "error";
            break;
        case "end":
            got.finish ??= "end";
    }
    return event.type;
}

const eventSource = ({ url, stop }) =>
    gathered(
        (got) =>
            new Promise((resolve, reject) => {
                const source = new EventSource(url);
                source.onmessage = (message) => {
                    try {
                        if (["end", "error"].includes(nativeEvent(got, message.data)) || enough(got, stop)) leave();
                    } catch (error) {
                        leave(error);
                    }
                };
                source.onerror = (event) => leave(Object.assign(new Error(event.message ?? "no message"), { status: event.code }));
                function leave(error) {
                    source.close();
                    error ? reject(error) : resolve();
                }
            }),
    );

// As long as the server gives something: an EventSource stops at 204 alone.
const eventSourceAgain = ({ url }) =>
    gathered(
        (got) =>
            new Promise((resolve) => {
                got.frames = [];
                got.opened = 0;
                const source = new EventSource(url);
                source.onopen = () => (got.opened += 1);
                source.onmessage = (message) => {
                    got.frames.push([message.lastEventId, message.data]);
                    nativeEvent(got, message.data);
                };
                source.onerror = (event) => {
                    if (source.readyState !== EventSource.CLOSED) return;
                    got.code = event.code;
                    resolve();
                };
            }),
    );

// The same by fetch-event-source, which asks again when a connection is torn, and takes any end of a body for the end.
const microsoftAgain = ({ url }) =>
    gathered(async (got) => {
        got.frames = [];
        got.opened = 0;
        got.lost = 0;
        await fetchEventSource(url, {
            openWhenHidden: true,
            async onopen(response) {
                got.opened += response.ok ? 1 : 0;
            },
            onmessage(message) {
                got.frames.push([message.id, message.data]);
                nativeEvent(got, message.data);
            },
            onerror() {
                got.lost += 1;
            },
        });
    });

const parser = ({ url, stop, method }) =>
    gathered(async (got) => {
        const leaving = new AbortController();
        const response = await fetch(url, { method, signal: leaving.signal, ...(method === "POST" && { body: "{}" }) });
        if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
        got.comments = 0;
        const parsing = createParser({
            onEvent: (event) => nativeEvent(got, event.data),
            onComment: () => (got.comments += 1),
            onRetry: (retry) => (got.retry = retry),
            onError: (error) => (got.error = failure(error)),
        });
        for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
            parsing.feed(text);
            if (enough(got, stop)) leaving.abort();
        }
    });

const microsoft = ({ url, stop, method }) =>
    gathered(async (got) => {
        const leaving = new AbortController();
        got.empty = 0;
        await fetchEventSource(url, {
            method,
            signal: leaving.signal,
            openWhenHidden: true,
            ...(method === "POST" && { body: "{}" }),
            async onopen(response) {
                if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
            },
            onmessage(message) {
                if (message.data === "") got.empty += 1;
                else nativeEvent(got, message.data);
                got.retry ??= message.retry;
                if (enough(got, stop)) leaving.abort();
            },
            onerror(error) {
                throw error;
            },
        });
    });

answer({
    openaiChatRaw,
    openaiChatStream,
    openaiResponsesRaw,
    openaiResponsesStream,
    anthropicRaw,
    anthropicStream,
    ai7Compatible: aiCompatible(ai7),
    ai6Compatible: aiCompatible(ai6),
    eventSource,
    eventSourceAgain,
    parser,
    microsoft,
    microsoftAgain,
});
