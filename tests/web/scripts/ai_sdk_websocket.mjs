// The AI SDK 7's chat over its WebSocketChatTransport, as useChat has it: one transport, and one socket, for each name.
import { AbstractChat, WebSocketChatTransport } from "ai";
import WebSocket from "ws";
import { answer, failure } from "./session.mjs";

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

class Chat extends AbstractChat {}

const textOf = (messages, of = "text") =>
    messages.filter(({ role }) => role === "assistant").flatMap(({ parts }) => parts).filter(({ type }) => type === of).map(({ text }) => text).join("");

const transports = new Map();
const chats = new Map();
let sockets = 0;

// A browser sends the origin of its page; here it is the server's own.
const socketFor = (origin) =>
    class extends WebSocket {
        constructor(url, protocols) {
            super(url, protocols ?? [], { origin });
            sockets += 1;
        }
    };

function chatOf({ url, page = "page", chat: id = "chat" }) {
    const key = `${page} ${id}`;
    if (!chats.has(key)) {
        if (!transports.has(page)) transports.set(page, new WebSocketChatTransport({ url, webSocket: socketFor(new URL(url.replace("ws:", "http:")).origin) }));
        const got = { errors: [], finishes: [], data: [] };
        const state = new State([]);
        const one = new Chat({
            id,
            state,
            transport: transports.get(page),
            onError: (error) => got.errors.push(failure(error)),
            onFinish: ({ isAbort, isDisconnect, isError, finishReason }) => got.finishes.push({ isAbort, isDisconnect, isError, finishReason: finishReason ?? null }),
            onData: ({ type, data }) => got.data.push({ type, data }),
        });
        chats.set(key, { chat: one, state, got });
    }
    return chats.get(key);
}

const told = ({ chat, state, got }) => ({ ...got, status: chat.status, text: textOf(state.messages), reasoning: textOf(state.messages, "reasoning"), messages: state.messages, sockets });

async function until(so, seconds = 60) {
    const end = Date.now() + seconds * 1000;
    while (!so()) {
        if (Date.now() > end) throw new Error("it did not happen");
        await new Promise((go) => setTimeout(go, 2));
    }
}

// Sends a text as useChat does. `stop`: the user presses the button behind so many characters. `close`: the page goes away there.
async function send({ text = "Hi", stop, close, ...given }) {
    const one = chatOf(given);
    const sending = one.chat.sendMessage({ text });
    const before = textOf(one.state.messages).length;
    if (stop ?? close) {
        await until(() => textOf(one.state.messages).length >= before + (stop ?? close) || one.got.errors.length);
        if (stop) await one.chat.stop();
        else transports.get(given.page ?? "page").close();
    }
    await sending;
    return told(one);
}

async function resume(given) {
    const one = chatOf(given);
    await one.chat.resumeStream();
    return told(one);
}

// What a transport gives without a chat: whether there is anything to be resumed.
async function reconnect({ url, page, chat }) {
    chatOf({ url, page, chat });
    const stream = await transports.get(page).reconnectToStream({ chatId: chat });
    return stream === null;
}

// The text of what runs, as the transport gives it.
async function reconnect_and_read({ page, chat }) {
    let text = "";
    for await (const chunk of await transports.get(page).reconnectToStream({ chatId: chat })) text += chunk.type === "text-delta" ? chunk.delta : "";
    return text;
}

async function close({ page }) {
    transports.get(page).close();
}

answer({ send, resume, reconnect, reconnect_and_read, close }, async () => transports.forEach((transport) => transport.close()));
