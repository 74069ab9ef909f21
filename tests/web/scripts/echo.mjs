// What run_node itself is tested with.
const [how, ...rest] = process.argv.slice(2);
console.log("not the last line");
if (how === "fail") throw new Error("told on stderr");
if (how === "hang") setInterval(() => {}, 1000);
else if (how === "words") console.log("no JSON");
else console.log(JSON.stringify({ how, rest }));
