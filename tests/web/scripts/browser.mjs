// Chromium for the tests: started once, a page of its own for each call.
import { chromium } from "playwright-core";
import { answer } from "./session.mjs";

const [executablePath] = process.argv.slice(2);
const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"];
const browser = await chromium.launch({ executablePath, args, timeout: 150_000 });

// Opens `url` and waits until the page has set `window.told`; gives it, and what else the page did meanwhile.
// `seconds` are those of a wait for the page itself: that it opens at all has time enough on any machine.
async function run({ url, steps = [], seconds }) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const seen = { errors: [], said: [], dialogs: [], requests: [] };
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    page.on("console", (message) => seen.said.push(message.text()));
    page.on("dialog", (dialog) => (seen.dialogs.push(dialog.message()), dialog.dismiss()));
    page.on("request", (request) => seen.requests.push(request.url()));
    page.setDefaultTimeout(60_000);
    const wait = { timeout: seconds * 1000 };
    try {
        await page.goto(url, { waitUntil: "commit" });
        for (const step of steps) await page.waitForFunction(step, undefined, wait);
        await page.waitForFunction("window.told !== undefined", undefined, wait);
        return { told: await page.evaluate("window.told"), ...seen };
    } catch (error) {
        await page.waitForLoadState("domcontentloaded").catch(() => {}); // what was asked for may still be on its way
        const there = await page.content().catch((gone) => gone.message);
        throw new Error(`${error.message}\nseen so far: ${JSON.stringify(seen)}\nthe page: ${there.slice(0, 2000)}`);
    } finally {
        await context.close();
    }
}

// A page that stays open: `open` when it has set `window.ready`, then any number of calls of a function that it has.
const pages = new Map();

async function open({ url, seconds }) {
    const page = await (await browser.newContext()).newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.setDefaultTimeout(seconds * 1000);
    await page.goto(url, { waitUntil: "commit" });
    await page.waitForFunction("window.ready");
    pages.set(pages.size, { page, errors });
    return pages.size - 1;
}

async function call({ page, name, given }) {
    return pages.get(page).page.evaluate(([name, given]) => window[name](given), [name, given]);
}

// What nobody caught in it.
async function close({ page }) {
    await pages.get(page).page.context().close();
    return pages.get(page).errors;
}

answer({ run, open, call, close, version: () => browser.version() }, () => browser.close());
