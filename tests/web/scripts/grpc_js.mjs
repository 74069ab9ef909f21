// gRPC's own client for JavaScript, which reads the published .proto by itself, and what it made of a call.
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import { answer } from "./session.mjs";

const [proto] = process.argv.slice(2);
const { Streams } = grpc.loadPackageDefinition(loader.loadSync(proto, { longs: Number, oneofs: true })).streamkit.v1;

function client(target) {
    return new Streams(target, grpc.credentials.createInsecure());
}

// What a message says; a field at its default is not in it.
function told(events, into) {
    for (const event of events.events) {
        if (event.kind === "textDelta") into.text += event.textDelta.text;
        if (event.kind === "finish") into.finished.push([events.turn ?? 0, event.finish.reason ?? "stop"]);
    }
    into.messages += 1;
    into.token = events.token || into.token;
}

function read(call, into, each = () => {}) {
    return new Promise((resolve) => {
        call.on("data", (events) => {
            told(events, into);
            each(into);
        });
        call.on("error", () => {}); // the status says it
        call.on("status", ({ code, details, metadata }) => {
            const trailers = metadata.getMap();
            const names = Object.keys(trailers).sort();
            resolve({ ...into, status: grpc.status[code], details, trailers: names, code: trailers["streamkit-code"] });
        });
    });
}

const nothing = () => ({ text: "", finished: [], messages: 0, token: "" });

// `leave` is a number of characters behind which the call is cancelled; `seconds` its deadline.
async function stream({ target, text, id = "", leave, seconds }) {
    const streams = client(target);
    const call = streams.stream({ text, id }, seconds ? { deadline: Date.now() + seconds * 1000 } : {});
    const got = await read(call, nothing(), (into) => leave && into.text.length >= leave && call.cancel());
    streams.close();
    return got;
}

async function resume({ target, id, after }) {
    const streams = client(target);
    const got = await read(streams.resume({ id, after }), nothing());
    streams.close();
    return got;
}

async function complete({ target, text }) {
    const streams = client(target);
    const got = await new Promise((resolve, reject) =>
        streams.complete({ text }, (error, reply) => (error ? reject(error) : resolve(reply.text))),
    );
    streams.close();
    return got;
}

// Two turns: the answer of the first is stopped by the first input of the second, and that one by a cancel.
async function converse({ target }) {
    const streams = client(target);
    const call = streams.converse();
    const said = new Set();
    call.write({ text: "one", turn: 0 });
    const got = await read(call, nothing(), ({ text }) => {
        if (text.includes("one") && !said.has(1)) call.write({ text: "two", turn: said.add(1) && 1 });
        if (text.includes("two") && !said.has(2)) {
            said.add(2);
            call.write({ cancel: {}, turn: 1 });
            call.end();
        }
    });
    streams.close();
    return got;
}

answer({ stream, resume, complete, converse });
