// One run of @ag-ui/client's HttpAgent, and what it made of it: messages, events, state, how it ended.
import { HttpAgent } from "@ag-ui/client";
import { answer, failure } from "./session.mjs";

const warnings = [];
console.warn = (...said) => warnings.push(said.join(" "));

// `stop` is a number of characters behind which the run is aborted; `runs` how many runs one agent makes.
async function run({ url, stop, runs = 1 }) {
    warnings.length = 0;
    const got = { events: [], text: "", finished: null, failed: null, error: null, pending: null, customs: [], usage: null };
    const agent = new HttpAgent({ url, threadId: "thread-1" });
    const subscriber = {
        onEvent: ({ event }) => void got.events.push(event.type),
        onRunStartedEvent: ({ event }) => void (got.started = [event.threadId, event.runId]),
        onTextMessageContentEvent: ({ event }) => {
            got.text += event.delta;
            if (stop && got.text.length >= stop) agent.abortRun();
        },
        onCustomEvent: ({ event }) => void got.customs.push([event.name, event.value]),
        onRunFinishedEvent: ({ event, outcome, pendingToolCallIds }) => {
            got.finished = outcome;
            got.pending = pendingToolCallIds;
            got.usage = event.usage;
        },
        onRunErrorEvent: ({ event }) => void (got.error = event),
        onRunFailed: ({ error }) => void (got.failed = failure(error)),
    };
    for (let count = 0; count < runs; count += 1) {
        try {
            await agent.runAgent({ runId: `run-${count + 1}` }, subscriber);
        } catch (error) {
            got.raised = failure(error);
        }
    }
    return { ...got, messages: agent.messages, state: agent.state, warnings: [...warnings] };
}

answer({ run });
