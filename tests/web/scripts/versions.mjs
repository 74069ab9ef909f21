// Which versions of the packages are here: those that a script would import.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const folder = dirname(dirname(process.argv[1]));
const told = (path) => JSON.parse(readFileSync(join(folder, path, "package.json"), "utf8"));
const wanted = told("").dependencies;
const found = Object.fromEntries(Object.keys(wanted).map((name) => [name, told(join("node_modules", name)).version]));
console.log(JSON.stringify({ wanted, found }));
