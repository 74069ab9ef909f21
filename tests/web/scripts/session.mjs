// The other end of a NodeSession: one line of JSON per call, one per answer, several calls at a time.
import { createInterface } from "node:readline";

// Only answers go to stdout.
console.log = console.info = console.debug = console.error;

export function answer(functions, atEnd = async () => {}) {
    const input = createInterface({ input: process.stdin });
    input.on("line", async (line) => {
        const { call, function: name, arguments: given } = JSON.parse(line);
        let told;
        try {
            told = { call, value: (await functions[name](given)) ?? null };
        } catch (error) {
            told = { call, error: String(error?.stack ?? error) };
        }
        process.stdout.write(`${JSON.stringify(told)}\n`);
    });
    input.on("close", async () => {
        await atEnd();
        process.exit(0);
    });
}

// How a client's failure is told: what kind it is, and in which words.
export const failure = (error) => ({ name: error?.constructor?.name ?? typeof error, message: String(error?.message ?? error) });

// A client that is cut off elsewhere (a socket that fails in the background) is seen by its call, and ends no session.
process.on("uncaughtException", (error) => console.error("uncaught", error));
process.on("unhandledRejection", (error) => console.error("unhandled", error));
