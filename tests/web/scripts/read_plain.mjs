// A body read by fetch: read_plain.mjs <url> [<url to open a gate, once something came>]
const [url, gate] = process.argv.slice(2);
const told = { first: null, text: "", error: null };
try {
  const response = await fetch(url, { headers: { "accept-encoding": "gzip, br" } });
  told.encoding = response.headers.get("content-encoding");
  told.status = response.status;
  const decoder = new TextDecoder();
  for await (const chunk of response.body) {
    told.text += decoder.decode(chunk, { stream: true });
    if (told.first === null) {
      told.first = told.text;
      if (gate) await fetch(gate).then((opened) => opened.text());
    }
  }
} catch (error) {
  told.error = error.constructor.name;
}
console.log(JSON.stringify(told));
