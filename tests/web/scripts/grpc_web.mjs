// The calls of grpc_web_calls.mjs, which lie in a folder of their own beside the code that they use.
import { answer } from "./session.mjs";

const [calls] = process.argv.slice(2);
answer({ ...(await import(calls)) });
