// What an EventSource has read when it gives up: resume_events.mjs <url>
import { EventSource } from "eventsource";

const told = { texts: [], opened: 0, code: null };
const source = new EventSource(process.argv[2]);
source.onopen = () => (told.opened += 1);
source.onmessage = (message) => {
  const event = JSON.parse(message.data);
  if (event.type === "text-delta") told.texts.push(event.text);
};
source.onerror = (error) => {
  if (source.readyState === EventSource.CLOSED) {
    told.code = error.code ?? null;
    console.log(JSON.stringify(told));
  }
};
