// Writes generated/*.json; with --check only tells whether they are what the source says.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { row } from "./row.js";

const files = { "headroom-row.json": row("prometheus"), "headroom-row-flux.json": row("influxdb") };
let stale = 0;
for (const [name, board] of Object.entries(files)) {
  const path = fileURLToPath(new URL(`../generated/${name}`, import.meta.url));
  const text = `${JSON.stringify(board, null, 2)}\n`;
  if (!process.argv.includes("--check")) {
    writeFileSync(path, text);
    console.log(`wrote generated/${name}`);
    continue;
  }
  let found = "";
  try { found = readFileSync(path, "utf8"); } catch { /* missing is stale */ }
  const same = found === text;
  stale += same ? 0 : 1;
  console.log(`generated/${name} ${same ? "is up to date" : "is not what the source says: run `npm run generate`"}`);
}
process.exit(stale ? 1 : 0);
