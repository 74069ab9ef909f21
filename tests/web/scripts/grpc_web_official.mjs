// grpc-web of the gRPC project, with what its generator would write about a method. In a page only: it stands on XMLHttpRequest.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { GrpcWebClientBase, MethodDescriptor } from "grpc-web";
import { EventsSchema, RequestSchema } from "./streamkit_pb.js";

const method = new MethodDescriptor(
    "/streamkit.v1.Streams/Stream",
    "server_streaming",
    Object,
    Object,
    (request) => toBinary(RequestSchema, request),
    (bytes) => fromBinary(EventsSchema, bytes),
);

// `format` is "text" (base64, read as it comes) or "binary"; `say` and `at` as in grpc_web_calls.mjs.
export function official({ base, ask, format, at, say, leave }) {
    const client = new GrpcWebClientBase({ format });
    const request = (value) => create(RequestSchema, { input: { case: "text", value } });
    const begin = (value) => client.serverStreaming(`${base}/streamkit.v1.Streams/Stream`, request(value), {}, method);
    const got = { text: "", finished: null, failed: null, status: null };
    return new Promise((resolve) => {
        const call = begin(ask);
        call.on("data", ({ events }) => {
            for (const { kind } of events) {
                if (kind.case === "textDelta") got.text += kind.value.text;
                if (kind.case === "finish") got.finished = kind.value.reason ?? "stop";
            }
            if (say && got.text.endsWith(at)) begin(say);
            if (leave && got.text.endsWith(leave)) {
                call.cancel(); // after which it says nothing more
                resolve(got);
            }
        });
        call.on("status", ({ code }) => (got.status = code));
        call.on("error", ({ code, metadata }) => {
            got.failed = { code, streamkit: metadata["streamkit-code"] ?? null };
            setTimeout(() => resolve(got)); // what comes behind it is seen, too
        });
        call.on("end", () => setTimeout(() => resolve(got)));
    });
}
