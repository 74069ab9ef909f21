// Calls that the JavaScript of the how-to page makes, and what became of them; the same in node and in Chromium.
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ask as askPage, failure, read, streams as pageStreams } from "./answers.js";
import { Streams } from "./streamkit_pb.js";

const clientOf = (base) => (base ? createClient(Streams, createGrpcWebTransport({ baseUrl: base })) : pageStreams);
const text = (value) => ({ case: "text", value });

// `say` is a word that the server is told (by another call) once `at` has been read; `leave` where the call is aborted.
function follow({ at, say, leave, seconds, headers }) {
    const leaving = new AbortController();
    const got = { text: "" };
    let said = !say;
    const show = (more) => {
        got.text += more;
        if (!said && got.text.endsWith(at)) {
            said = true;
            pageStreams.complete({ input: text(say) }).catch(() => {}); // its own answer may be cut with all else
        }
        if (leave && got.text.endsWith(leave)) leaving.abort();
    };
    const options = { signal: leaving.signal, headers, timeoutMs: seconds && seconds * 1000 };
    return { got, show, options };
}

async function end(got, reading) {
    try {
        got.ended = await reading;
    } catch (error) {
        got.failed = failure(error);
    }
    return got;
}

export async function stream({ ask, base, id = "", ...how }) {
    const { got, show, options } = follow(how);
    const kept = {};
    await end(got, read(clientOf(base).stream({ input: text(ask), id }, options), show, kept));
    return { ...got, after: kept.after ?? null };
}

export async function resume({ id, after, ...how }) {
    const { got, show, options } = follow(how);
    return end(got, read(pageStreams.resume({ id, after }, options), show));
}

// With the page's own way on behind a connection that was lost.
export async function goOn({ ask, ...how }) {
    const { got, show, options } = follow(how);
    return end(got, askPage(ask, show, options));
}

export async function complete({ ask, headers }) {
    const got = { text: "" };
    try {
        const answer = await pageStreams.complete({ input: text(ask) }, { headers });
        got.text = answer.text;
        got.ended = answer.events.at(-1).kind.value.reason ?? "stop";
    } catch (error) {
        got.failed = failure(error);
    }
    return got;
}

export async function cancel({ id }) {
    return (await pageStreams.cancel({ id })).ended;
}
