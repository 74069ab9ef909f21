// Chromium for the tests: started once, a page of its own for each call.
import { chromium } from "playwright-core";
import { answer } from "./session.mjs";

const [executablePath] = process.argv.slice(2);
const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"];
const browser = await chromium.launch({ executablePath, args });

// Opens `url` and waits until the page has set `window.told`; gives it, and what else the page did meanwhile.
async function run({ url, steps = [], seconds = 15 }) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const seen = { errors: [], said: [], dialogs: [], requests: [] };
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    page.on("console", (message) => seen.said.push(message.text()));
    page.on("dialog", (dialog) => (seen.dialogs.push(dialog.message()), dialog.dismiss()));
    page.on("request", (request) => seen.requests.push(request.url()));
    page.setDefaultTimeout(seconds * 1000);
    try {
        await page.goto(url, { waitUntil: "commit" });
        for (const step of steps) await page.waitForFunction(step);
        await page.waitForFunction("window.told !== undefined");
        return { told: await page.evaluate("window.told"), ...seen };
    } catch (error) {
        const there = await page.content().catch((gone) => gone.message);
        throw new Error(`${error.message}\nseen so far: ${JSON.stringify(seen)}\nthe page: ${there.slice(0, 2000)}`);
    } finally {
        await context.close();
    }
}

answer({ run, version: () => browser.version() }, () => browser.close());
