// The AI SDK's own chat (what useChat is made of) in two releases, its readers, and assistant-ui's decoder: each reads one
// answer and tells what it got. `stop` is a number of characters behind which the reader leaves, in the client's own way.
import * as ai7 from "ai";
import * as ai6 from "ai6";
import { AssistantMessageAccumulator, UIMessageStreamDecoder } from "assistant-stream";
import { answer, failure } from "./session.mjs";

const RELEASES = { 6: ai6, 7: ai7 };

class State {
    status = "ready";
    error = undefined;
    constructor(messages) {
        this.messages = messages;
    }
    pushMessage(message) {
        this.messages = this.messages.concat(structuredClone(message));
    }
    popMessage() {
        this.messages = this.messages.slice(0, -1);
    }
    replaceMessage(at, message) {
        this.messages = this.messages.with(at, structuredClone(message));
    }
    snapshot(value) {
        return structuredClone(value);
    }
}

const kinds = (messages, of) => messages.flatMap((message) => (message.role === "assistant" ? message.parts : [])).filter(({ type }) => type === of);
const textOf = (messages, of = "text") => kinds(messages, of).map(({ text }) => text).join("");

const chats = new Map();
const texts = new Map(); // what a call of that name shows by now

// With `output` the page runs the tools: each call's result goes back by itself, as the second request of one message.
function chatOf({ release, url, chat: id = "chat", messages = [], protocol = "ui", output }) {
    const sdk = RELEASES[release];
    const Transport = protocol === "text" ? sdk.TextStreamChatTransport : sdk.DefaultChatTransport;
    class Chat extends sdk.AbstractChat {}
    const got = { errors: [], finishes: [], data: [], calls: [], responses: [] };
    const state = new State(messages);
    const watched = async (...request) => {
        const response = await fetch(...request);
        got.responses.push({ status: response.status, type: response.headers.get("content-type"), protocol: response.headers.get("x-vercel-ai-ui-message-stream") });
        return response;
    };
    const chat = new Chat({
        id,
        state,
        transport: new Transport({ api: url, fetch: watched }),
        onError: (error) => got.errors.push(failure(error)),
        onFinish: ({ isAbort, isDisconnect, isError, finishReason }) => got.finishes.push({ isAbort, isDisconnect, isError, finishReason: finishReason ?? null }),
        onData: ({ type, data }) => got.data.push({ type, data }),
        onToolCall: ({ toolCall: { toolName: tool, toolCallId } }) => {
            got.calls.push(tool);
            if (output !== undefined) void chat.addToolOutput({ tool, toolCallId, output });
        },
        sendAutomaticallyWhen: output === undefined ? undefined : sdk.lastAssistantMessageIsCompleteWithToolCalls,
    });
    return { chat, state, got };
}

const told = ({ chat, state, got }) => ({ ...got, status: chat.status, messages: state.messages, text: textOf(state.messages), reasoning: textOf(state.messages, "reasoning") });

async function until(so, seconds = 60) {
    const end = Date.now() + seconds * 1000;
    while (!so()) {
        if (Date.now() > end) throw new Error("it did not happen");
        await new Promise((go) => setTimeout(go, 2));
    }
}

// Sends "Hi" as useChat does; with `stop` the user presses the button.
async function send({ stop, name, ...given }) {
    const one = name && chats.has(name) ? chats.get(name) : chatOf(given);
    if (name) chats.set(name, one);
    if (name) texts.set(name, () => textOf(one.state.messages));
    const sending = one.chat.sendMessage({ text: given.text ?? "Hi" });
    if (stop) {
        await until(() => textOf(one.state.messages).length >= stop);
        await one.chat.stop();
    }
    await sending;
    if (given.output !== undefined) await until(() => one.got.finishes.length + one.got.errors.length >= 2);
    return told(one);
}

// When the call of that name shows so many characters.
async function shown({ name, length }) {
    await until(() => texts.get(name)().length >= length);
}

// What a page does that is loaded while an answer runs, or, of a chat of that name, one that has lost its connection.
async function resume({ name, ...given }) {
    const one = name && chats.has(name) ? chats.get(name) : chatOf(given);
    await one.chat.resumeStream();
    return told(one);
}

// Without a chat: each state of the message is given by a reader.
async function read({ release, url }) {
    const sdk = RELEASES[release];
    const transport = new sdk.DefaultChatTransport({ api: url });
    const stream = await transport.sendMessages({ chatId: "chat", messages: [], trigger: "submit-message", messageId: undefined });
    const got = { states: 0, message: null, error: null };
    try {
        for await (const message of sdk.readUIMessageStream({ stream, terminateOnError: true })) {
            got.states += 1;
            got.message = structuredClone(message);
        }
    } catch (error) {
        got.error = failure(error);
    }
    return got;
}

// useCompletion's: text and errors of either protocol.
async function complete({ release, url, protocol, name }) {
    const got = { text: "", error: null };
    texts.set(name, () => got.text);
    const ignore = () => {};
    await RELEASES[release].callCompletionApi({
        api: url,
        prompt: "Hi",
        streamProtocol: protocol,
        setCompletion: (text) => (got.text = text),
        setLoading: ignore,
        setError: (error) => (got.error = error ? failure(error) : null),
        setAbortController: ignore,
    });
    return got;
}

// Many messages, as chunks, without HTTP: each chunk against the schema, each message by the rules.
async function readAll({ release, streams }) {
    const sdk = RELEASES[release];
    const schema = sdk.asSchema(sdk.uiMessageChunkSchema);
    const all = [];
    for (const chunks of streams) {
        const got = { refused: [], error: null, message: null };
        for (const chunk of chunks) {
            const found = await schema.validate(chunk);
            if (!found.success) got.refused.push(chunk);
        }
        try {
            const stream = new ReadableStream({
                start(controller) {
                    for (const chunk of chunks) controller.enqueue(chunk);
                    controller.close();
                },
            });
            for await (const message of sdk.readUIMessageStream({ stream, terminateOnError: true })) got.message = message;
        } catch (error) {
            got.error = failure(error);
        }
        const parts = [{ role: "assistant", parts: got.message?.parts ?? [] }];
        all.push({ ...got, message: undefined, text: textOf(parts), reasoning: textOf(parts, "reasoning") });
    }
    return all;
}

// assistant-ui's.
async function assistant({ url, stop }) {
    const got = { message: null, data: [], error: null };
    const leaving = new AbortController();
    try {
        const response = await fetch(url, { method: "POST", body: "{}", signal: leaving.signal });
        if (!response.ok) throw new Error(await response.text());
        const decoder = new UIMessageStreamDecoder({ onData: ({ name, data }) => got.data.push({ type: `data-${name}`, data }) });
        const messages = response.body.pipeThrough(decoder).pipeThrough(new AssistantMessageAccumulator());
        for await (const message of messages) {
            got.message = message;
            if (stop && textOf([{ role: "assistant", parts: message.parts }]).length >= stop) leaving.abort();
        }
    } catch (error) {
        got.error = failure(error);
    }
    const parts = [{ role: "assistant", parts: got.message?.parts ?? [] }];
    return { ...got, message: got.message && structuredClone({ ...got.message, parts: got.message.parts }), text: textOf(parts), reasoning: textOf(parts, "reasoning") };
}

answer({ send, shown, resume, read, complete, readAll, assistant });
