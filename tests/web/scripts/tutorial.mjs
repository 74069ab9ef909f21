// fetch and a reader as tutorials have them: blocks at empty lines, `event:` and `data:` in each.
import { answer, failure } from "./session.mjs";

async function read({ url, field, stop }) {
    const got = { text: "", ended: null, said: null, error: null };
    const leaving = new AbortController();
    try {
        const response = await fetch(url, { method: "POST", body: "{}", signal: leaving.signal });
        const reader = response.body.getReader();
        const decoder = new TextDecoder();
        let buffer = "";
        for (;;) {
            const { done, value } = await reader.read();
            if (done) break;
            buffer += decoder.decode(value, { stream: true });
            const blocks = buffer.split("\n\n");
            buffer = blocks.pop();
            for (const block of blocks) {
                const lines = block.split("\n");
                const event = lines.find((line) => line.startsWith("event: "))?.slice(7) ?? "message";
                const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
                if (!data.length) continue;
                if (["done", "cancelled", "error"].includes(event)) {
                    got.ended = event;
                    got.said = data[0] && JSON.parse(data[0]);
                } else if (!field) {
                    if (data.join("\n") === "[DONE]") got.ended ??= "done";
                    else got.text += data.join("\n");
                } else {
                    got.text += JSON.parse(data.join("\n"))[field];
                }
            }
            if (stop && got.text.length >= stop) leaving.abort();
        }
    } catch (error) {
        got.error = failure(error);
    }
    return got;
}

// The raw text protocol, and NDJSON.
async function lines({ url }) {
    try {
        return { text: await (await fetch(url, { method: "POST", body: "{}" })).text() };
    } catch (error) {
        return { error: failure(error) };
    }
}

answer({ read, lines });
