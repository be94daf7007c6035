// Writes backoff.json, and <version>.json for each pinned release of BullMQ: the job hashes and the events it leaves behind after a rich
// set of adds and some processing. Needs redis-server on the path.
//
//     npm install && npm run make

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(import.meta.url);
const { Redis } = require("ioredis");
const here = dirname(fileURLToPath(import.meta.url));
const releases = {
  "5.12.0": "bullmq-5.12",
  "5.34.0": "bullmq-5.34",
  "5.58.0": "bullmq-5.58",
  "5.81.5": "bullmq-5.81",
  "6.7.0": "bullmq-6.7",
};
const port = 7391;
const T = 1700000000000;
Error.stackTraceLimit = 1; // The traces need not fill the corpus.

async function until(what, done) {
  for (let i = 0; i < 400; i += 1) {
    if (await done()) return;
    await sleep(25);
  }
  throw new Error(`timed out: ${what}`);
}

async function make(version, alias) {
  const bull = require(alias);
  const [major, minor] = version.split(".").map(Number);
  const since = (a, b) => major > a || (major === a && minor >= b);
  const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
  const client = new Redis(connection);
  await client.flushall();
  const open = [];
  const queue = (name, opts = {}) => {
    const q = new bull.Queue(name, { connection, ...opts });
    q.on("error", () => {});
    open.push(q);
    return q;
  };
  const worker = (name, processor, opts = {}) => {
    const w = new bull.Worker(name, processor, { connection, drainDelay: 1, ...opts });
    w.on("error", () => {});
    open.push(w);
    return w;
  };

  // Adds that nobody processes.
  const adds = queue("adds", { defaultJobOptions: { attempts: 2, removeOnFail: 50 } });
  const plain = queue("plain");
  const skipped = [];
  const attempt = async (label, call) => {
    try {
      await call();
    } catch (error) {
      skipped.push(`${label}: ${error.message}`);
    }
  };
  const add = (name, data, opts) => attempt(name, () => plain.add(name, data, opts));
  await adds.add("defaults", { a: 1 });
  await adds.add("over defaults", { a: 1 }, { attempts: 7, removeOnFail: false, jobId: "own-id" });
  await add("plain", { to: "x@example.org" });
  await add("no data");
  await add("null", null);
  await add("text", "é \ud83d\ude00 \"quoted\" \\ / \u2028");
  await add("half a surrogate", { text: "\ud83d" });
  await add("numbers", [1.5, -0, 1e21, 1e-7, 12345678901234567890, 0.1 + 0.2]);
  await add("empty", { list: [], map: {}, "": null });
  await add("deep", JSON.parse("[".repeat(60) + "]".repeat(60)));
  await add("", { empty: "name" });
  await add("delayed", {}, { delay: 86400000, timestamp: T });
  await add("delay 0", {}, { delay: 0 });
  await add("delay fraction", {}, { delay: 0.5, timestamp: T });
  await add("delay huge", {}, { delay: 5e15, timestamp: T });
  await add("delay negative", {}, { delay: -5 });
  await add("delay text", {}, { delay: "5000" });
  await add("timestamp fraction", {}, { timestamp: T + 0.25 });
  await add("prioritized", {}, { priority: 3 });
  await add("priority highest", {}, { priority: 2097151 });
  await add("priority 0", {}, { priority: 0 });
  await add("priority negative", {}, { priority: -1 });
  await add("priority and delay", {}, { priority: 5, delay: 1000, timestamp: T });
  await add("lifo", {}, { lifo: true });
  await add("lifo false", {}, { lifo: false });
  await add("attempts", {}, { attempts: 3 });
  await add("attempts huge", {}, { attempts: Number.MAX_VALUE });
  await add("attempts undefined", {}, { attempts: undefined });
  await add("attempts null", {}, { attempts: null });
  await add("attempts text", {}, { attempts: "3" });
  await add("attempts fraction", {}, { attempts: 2.5 });
  await add("backoff number", {}, { attempts: 3, backoff: 1000 });
  await add("backoff 0", {}, { attempts: 3, backoff: 0 });
  await add("backoff fixed", {}, { attempts: 3, backoff: { type: "fixed", delay: 250 } });
  await add("backoff exponential", {}, { attempts: 8, backoff: { type: "exponential", delay: 1000, jitter: 0.5 } });
  await add("backoff custom", {}, { attempts: 8, backoff: { type: "mine" } });
  await add("backoff text", {}, { attempts: 8, backoff: "exponential" });
  for (const [label, keep] of Object.entries({
    true: true, false: false, zero: 0, number: 100, "minus one": -1, count: { count: 5 }, age: { age: 3600 },
    both: { age: 24 * 3600, count: 1000 }, limit: { age: 60, count: 10, limit: 20 }, empty: {}, fraction: { age: 0.5 },
  })) {
    await add(`keep ${label}`, {}, { removeOnComplete: keep, removeOnFail: keep });
  }
  await add("keepLogs", {}, { keepLogs: 10 });
  await add("stackTraceLimit", {}, { stackTraceLimit: 0 });
  await add("sizeLimit", {}, { sizeLimit: 1000 });
  await add("job id", {}, { jobId: "invoice/2024 é" });
  await add("job id with colons", {}, { jobId: "a:b:c" });
  await add("unknown options", {}, { mine: { deep: [1, null, 2], empty: [] }, timeout: 5000, note: "a/b", nothing: null });
  await add("prevMillis", {}, { prevMillis: T, repeatJobKey: "some-key" });
  await add("telemetry", {}, { telemetry: { metadata: JSON.stringify({ traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }) } });
  await add("omit context", {}, { telemetry: { omitContext: true } });
  await add("dedup simple", {}, { deduplication: { id: "d1" } });
  await add("dedup simple", {}, { deduplication: { id: "d1" } });
  await add("dedup throttle", {}, { deduplication: { id: "d2:x", ttl: 60000 } });
  await add("dedup debounce", {}, { deduplication: { id: "d3", ttl: 60000, extend: true, replace: true }, delay: 60000 });
  await add("dedup debounce", {}, { deduplication: { id: "d3", ttl: 60000, extend: true, replace: true }, delay: 60000 });
  await add("dedup keep last", {}, { deduplication: { id: "d4", keepLastIfActive: true } });
  await add("dedup reschedule", {}, { deduplication: { id: "d5", reschedule: true }, delay: 60000 });
  await add("dedup number", {}, { deduplication: { id: 42 } });
  await add("debounce", {}, { debounce: { id: "d6", ttl: 60000 } });
  await attempt("bulk", () => plain.addBulk([{ name: "bulk 1", data: 1 }, { name: "bulk 2", data: 2, opts: { priority: 1 } }]));
  // The telemetry of Node overwrites; this one only has to yield something.
  if (since(5, 34)) {
    const context = { with: (_, call) => call(), active: () => ({}), getMetadata: () => "context", fromMetadata: () => ({}) };
    const span = { setAttribute() {}, setAttributes() {}, addEvent() {}, recordException() {}, setSpanOnContext: () => ({}), end() {} };
    const telemetry = { contextManager: context, tracer: { startSpan: () => span } };
    const traced = queue("traced", { telemetry });
    await attempt("traced", () => traced.add("traced", {}));
    await attempt("traced omit", () => traced.add("traced omit", {}, { telemetry: { omitContext: true } }));
    await attempt("traced bulk", () => traced.addBulk([{ name: "traced bulk", data: {}, opts: { telemetry: { omitContext: true } } }]));
    await traced.add("traced failure", {});
    const w = worker("traced", async (job) => { if (job.name === "traced failure") throw new Error("traced"); }, { telemetry });
    await until("traced", async () => (await traced.getJobCounts()).failed === 1 && (await traced.getWaitingCount()) === 0);
    await w.close();
  }

  // Flows: added only, and processed.
  const flows = new bull.FlowProducer({ connection });
  open.push(flows);
  const policies = ["failParentOnFailure", "ignoreDependencyOnFailure", "removeDependencyOnFailure"];
  if (since(5, 58)) policies.push("continueParentOnFailure");
  const tree = (suffix) => policies.map((policy) => ({
    name: policy, queueName: `parents-${suffix}`, data: { policy }, opts: { jobId: `parent-${policy}` },
    children: [
      { name: "child", queueName: `children-${suffix}`, data: { policy }, opts: { [policy]: true, jobId: `child-${policy}` } },
      { name: "sibling", queueName: `children-${suffix}`, data: 1, opts: { [policy]: false, priority: 2 } },
    ],
  }));
  await flows.addBulk(tree("idle"));
  await flows.addBulk(tree("busy"));
  await flows.add({ name: "root", queueName: "parents-idle", opts: { delay: 1000 }, children: [
    { name: "middle", queueName: "children-idle", children: [{ name: "leaf", queueName: "children-idle" }] },
  ] });
  {
    const children = worker("children-busy", async (job) => { if (job.name === "child") throw new Error("child fails"); return job.name; });
    const parents = worker("parents-busy", async (job) => job.getChildrenValues());
    const c = queue("children-busy");
    await until("children", async () => (await c.getJobCountByTypes("wait", "active", "prioritized")) === 0);
    const p = queue("parents-busy");
    await until("parents", async () => (await p.getJobCountByTypes("wait", "active")) === 0);
    await sleep(100);
    await children.close();
    await parents.close();
  }

  // Work.
  const work = queue("work");
  const processor = async (job, token) => {
    switch (job.name) {
      case "fail": throw new Error(`failure é ${job.attemptsMade}\nsecond line`);
      case "fail twice": if (job.attemptsMade < 2) throw new Error("not yet"); return { tries: job.attemptsMade };
      case "fail for ever": throw new bull.UnrecoverableError("never");
      case "fail long": { const error = new Error("x".repeat(200)); error.stack = "made up\n    at nowhere"; throw error; }
      case "progress": await job.updateProgress(50); await job.log("half"); await job.updateProgress({ step: "é", of: [1, null] }); return "done";
      case "progress text": await job.updateProgress("42 %"); return null;
      case "data": await job.updateData({ changed: [true] }); return undefined;
      case "move": if (!job.data.moved) { await job.updateData({ moved: true }); await job.moveToDelayed(Date.now() + 50, token); throw new bull.DelayedError(); } return 1;
      default: return { ok: true, list: [], n: 1.5 };
    }
  };
  for (const [name, opts] of [
    ["ok", {}], ["fail", {}], ["fail", { attempts: 3 }], ["fail", { attempts: 3, backoff: 20 }], ["fail", { stackTraceLimit: 1, attempts: 2 }],
    ["fail", { stackTraceLimit: 0 }], ["fail twice", { attempts: 3, backoff: { type: "exponential", delay: 10 } }], ["fail for ever", { attempts: 5 }],
    ["fail long", {}], ["progress", {}], ["progress text", {}], ["data", {}], ["move", {}], ["ok", { delay: 30 }], ["ok", { priority: 9 }],
    ["gone", { removeOnComplete: true }], ["ok", { deduplication: { id: "w", ttl: 60000 } }],
  ]) {
    await attempt(`work ${name}`, () => work.add(name, { given: true }, opts));
  }
  const named = worker("work", processor, since(5, 34) ? { name: "Worker é 1" } : {});
  await until("work", async () => (await work.getJobCountByTypes("wait", "active", "delayed", "prioritized")) === 0);
  await named.close();
  const again = (await work.getFailed()).find((job) => job.name === "fail for ever");
  await attempt("retry", () => again.retry());

  // A job in the middle of its run, one that stalled once, and one that stalled too often.
  for (const [name, times] of [["stalled once", 1], ["stalled too often", 2], ["active", 0]]) {
    const stalls = queue(name);
    await stalls.add(name, {});
    const checker = worker(name, null, { maxStalledCount: 1, stalledInterval: 60000, autorun: false });
    for (let i = 0; i < times; i += 1) {
      const job = await checker.getNextJob("token");
      await client.del(`bull:${name}:${job.id}:lock`, `bull:${name}:stalled-check`);
      await client.sadd(`bull:${name}:stalled`, job.id);
      await (checker.moveStalledJobsToWait ? checker.moveStalledJobsToWait() : checker.startStalledCheckTimer());
    }
    if (times === 0) await checker.getNextJob("token");
  }

  // Events of administration.
  const admin = queue("admin");
  await admin.addBulk(["removed", "cleaned", "promoted"].map((name) => ({ name, data: {}, opts: { jobId: name, delay: 1000 } })));
  await admin.remove("removed");
  await (await admin.getJob("promoted")).promote();
  await admin.add("duplicated", {}, { jobId: "cleaned" });
  await admin.clean(-100000, 1, "delayed");
  await admin.pause();
  await admin.resume();

  // Schedulers, and what came before them.
  if (since(5, 34)) {
    const schedules = queue("schedules");
    await schedules.upsertJobScheduler("every", { every: 500 }, { name: "tick", data: { a: 1 }, opts: { attempts: 2, keepLogs: 3, removeOnFail: 10 } });
    await schedules.upsertJobScheduler("cron", { pattern: "0 0 3 * * *", tz: "Europe/Berlin", limit: 5 }, { name: "night", data: { b: [] } });
    const w = worker("schedules", async () => "ticked");
    await until("ticks", async () => (await schedules.getCompletedCount()) >= 2);
    await w.close();
  }
  if (major < 6) {
    const repeats = queue("repeats");
    await attempt("repeat every", () => repeats.add("every", { r: 1 }, { repeat: { every: 10000 } }));
    await attempt("repeat cron", () => repeats.add("cron", { r: 2 }, { repeat: { pattern: "0 3 * * *", key: "own-key" }, priority: 4 }));
  }

  const jobs = [];
  const events = [];
  const clean = (text) => text.replaceAll(here, "/app");
  for (const key of (await client.keys("bull:*")).sort()) {
    const type = await client.type(key);
    if (type === "hash") {
      const fields = await client.hgetall(key);
      if ("timestamp" in fields) jobs.push({ key, fields: Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, clean(v)])) });
    } else if (type === "stream") {
      for (const [, fields] of await client.xrange(key, "-", "+")) events.push(fields.map(clean));
    }
  }
  for (const thing of open.reverse()) await thing.close().catch(() => {});
  client.disconnect();
  // One event of each shape is enough.
  const shapes = new Map();
  for (const event of events) {
    const shape = [event[1], ...event.filter((_, i) => i % 2 === 0), event[event.indexOf("prev") + 1]].join();
    if (!shapes.has(shape)) shapes.set(shape, event);
  }
  const text = [
    "{", `"version":${JSON.stringify(version)},`, `"refused":${JSON.stringify(skipped)},`,
    '"jobs":[', jobs.map((job) => JSON.stringify(job)).join(",\n"), "],",
    '"events":[', [...shapes.values()].map((event) => JSON.stringify(event)).join(",\n"), "]", "}", "",
  ].join("\n");
  writeFileSync(join(here, `${version}.json`), text);
  console.log(version, jobs.length, "jobs,", shapes.size, "shapes of events,", text.length, "bytes; refused:", skipped);
}

// What Node's built-in strategies answer: [type, delay, jitter, attempt, random, wait].
async function backoffs() {
  const { Backoffs } = require(releases["6.7.0"]);
  const random = Math.random;
  const cases = [];
  for (const type of ["fixed", "exponential"]) {
    for (const delay of [0, 1, 3, 250, 999, 1000, 86400000, 0.3, 2.5]) {
      for (const jitter of [0, 0.1, 0.25, 0.5, 1]) {
        for (const attempt of [1, 2, 3, 10, 21]) {
          const drawn = random();
          Math.random = () => drawn;
          const wait = await Backoffs.calculate({ type, delay, jitter }, attempt, new Error("x"), {});
          if (random() < 0.5) cases.push([type, delay, jitter, attempt, drawn, wait]);
        }
      }
    }
  }
  Math.random = random;
  writeFileSync(join(here, "backoff.json"), `[\n${cases.map((row) => JSON.stringify(row)).join(",\n")}\n]\n`);
  console.log("backoff", cases.length, "cases");
}

await backoffs();
const dir = mkdtempSync(join(tmpdir(), "corpus-"));
const server = spawn("redis-server", ["--port", port, "--save", "", "--appendonly", "no", "--dir", dir, "--bind", "127.0.0.1"], { stdio: "ignore" });
try {
  await sleep(500);
  const only = process.argv[2];
  for (const [version, alias] of Object.entries(releases)) if (!only || only === version) await make(version, alias);
} finally {
  server.kill();
  rmSync(dir, { recursive: true, force: true });
}
process.exit(0);
