// The BullMQ side of the comparison: performs one work against Redis and reports it as one line of JSON.
//
//   node peer.mjs --redis URL --prefix P --work NAME --jobs N [--concurrency C]
//
// Speaks the protocol described in ../common.rs: prints `ready`, waits for a line, does the timed part, prints the
// JSON line, waits for another line (or the end of its input) and leaves.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq';

const BATCH = 1000;
const IN_FLIGHT = 100;
const QUEUE = 'bench';
const WARM_QUEUE = 'warm';
const WARM_JOBS = 2000;
const WARM_SAMPLES = 50;
const NAME = 'mail';
// The same 120 bytes of JSON as `Payload` in ../common.rs.
const PAYLOAD = { to: 'someone@example.com', body: 'x'.repeat(82) };

function parseArguments(argv) {
  const args = { redis: 'redis://127.0.0.1:6379', prefix: 'bull', concurrency: '100', jobs: '1000' };
  for (let i = 0; i < argv.length; i += 2) {
    if (!argv[i].startsWith('--') || argv[i + 1] === undefined) throw new Error(`unexpected argument ${argv[i]}`);
    args[argv[i].slice(2)] = argv[i + 1];
  }
  if (!args.work) throw new Error('--work is missing');
  return { ...args, jobs: Number(args.jobs), concurrency: Number(args.concurrency) };
}

const args = parseArguments(process.argv.slice(2));
const url = new URL(args.redis);
const connection = {
  host: url.hostname,
  port: Number(url.port || 6379),
  enableAutoPipelining: process.env.BENCH_AUTO_PIPELINING === '1',
};
const common = { connection, prefix: args.prefix };

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const nextLine = () => lines.next();

// `process.memoryUsage().rss` is the present figure; the peak and the start are read as the other peers read them.
function statusKb(field) {
  const line = readFileSync('/proc/self/status', 'utf8').split('\n').find((l) => l.startsWith(`${field}:`));
  return line ? Number.parseInt(line.slice(field.length + 1), 10) : 0;
}

class Clock {
  constructor() {
    this.cpu = process.cpuUsage();
    this.start = process.hrtime.bigint();
  }

  stop() {
    const seconds = Number(process.hrtime.bigint() - this.start) / 1e9;
    const { user, system } = process.cpuUsage(this.cpu);
    return { seconds, client_cpu_s: (user + system) / 1e6 };
  }
}

function report(jobs, measured, extra = {}) {
  const line = { work: args.work, jobs, ...measured, peak_rss_kb: statusKb('VmHWM'), ...extra };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function optionsOf(shape, index) {
  switch (shape) {
    case 'remove':
      return { removeOnComplete: true };
    case 'priority':
      return { priority: 1 + (index % 10) };
    case 'delayed':
      return { delay: 1 };
    case 'retry':
      return { attempts: 2 };
    default:
      return undefined;
  }
}

async function addBulk(queue, shape, count) {
  for (let first = 0; first < count; first += BATCH) {
    const batch = [];
    for (let i = first; i < Math.min(first + BATCH, count); i++) {
      batch.push({ name: NAME, data: PAYLOAD, opts: optionsOf(shape, i) });
    }
    await queue.addBulk(batch);
  }
}

async function addSequential(queue, count) {
  for (let i = 0; i < count; i++) await queue.add(NAME, PAYLOAD);
}

async function addConcurrent(queue, count) {
  let next = 0;
  const lane = async () => {
    while (next < count) {
      next += 1;
      await queue.add(NAME, PAYLOAD);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
}

// A worker that is connected but not yet running, and a way to wait for its n-th completion.
async function makeWorker(name, concurrency, processor) {
  const worker = new Worker(name, processor, { ...common, concurrency, autorun: false });
  worker.on('error', (error) => console.error(error));
  let done = 0;
  let wanted = Infinity;
  let reached;
  worker.on('completed', () => {
    done += 1;
    if (done >= wanted) reached();
  });
  await worker.waitUntilReady();
  const completed = (count) =>
    new Promise((resolve) => {
      wanted = count;
      reached = resolve;
      if (done >= count) resolve();
    });
  const start = () => {
    worker.run().catch((error) => console.error(error));
  };
  return { worker, start, completed };
}

function processorOf(shape) {
  if (shape === 'retry') {
    return async (job) => {
      if (job.attemptsMade === 0) throw new Error('first attempt');
    };
  }
  return async () => {};
}

async function add(work) {
  const queue = new Queue(QUEUE, common);
  const warm = new Queue(WARM_QUEUE, common);
  await queue.waitUntilReady();
  await work(warm, Math.min(WARM_JOBS, args.jobs));
  await warm.close();
  process.stdout.write('ready\n');
  await nextLine();

  const clock = new Clock();
  await work(queue, args.jobs);
  report(args.jobs, clock.stop());

  await nextLine();
  await queue.close();
}

async function processJobs(shape, { watchMemory = false } = {}) {
  const warmJobs = Math.min(WARM_JOBS, args.jobs);
  const warmQueue = new Queue(WARM_QUEUE, common);
  await addBulk(warmQueue, shape, warmJobs);
  const warm = await makeWorker(WARM_QUEUE, args.concurrency, processorOf(shape));
  warm.start();
  await warm.completed(warmJobs);
  await warm.worker.close();
  await warmQueue.close();

  const { worker, start, completed } = await makeWorker(QUEUE, args.concurrency, processorOf(shape));
  process.stdout.write('ready\n');
  await nextLine();

  const extra = {};
  const clock = new Clock();
  start();
  if (watchMemory) {
    extra.rss_start_kb = statusKb('VmRSS');
    await completed(Math.floor(args.jobs / 10));
    extra.rss_tenth_kb = statusKb('VmRSS');
  }
  await completed(args.jobs);
  const measured = clock.stop();
  if (watchMemory) extra.rss_end_kb = statusKb('VmRSS');
  report(args.jobs, measured, extra);

  await nextLine();
  await worker.close();
}

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

async function latency() {
  const queue = new Queue(QUEUE, common);
  await queue.waitUntilReady();
  let startedAt;
  const { worker, start, completed } = await makeWorker(QUEUE, args.concurrency, async () => {
    startedAt = process.hrtime.bigint();
  });
  start();

  let done = 0;
  const sample = async () => {
    // Long enough for the worker to be back in its blocking wait.
    await new Promise((resolve) => setTimeout(resolve, 3));
    const addedAt = process.hrtime.bigint();
    await queue.add(NAME, PAYLOAD);
    done += 1;
    await completed(done);
    return Number(startedAt - addedAt) / 1000;
  };
  for (let i = 0; i < WARM_SAMPLES; i++) await sample();
  process.stdout.write('ready\n');
  await nextLine();

  const clock = new Clock();
  const samples = [];
  for (let i = 0; i < args.jobs; i++) samples.push(await sample());
  const measured = clock.stop();
  samples.sort((a, b) => a - b);
  report(args.jobs, measured, { p50_us: percentile(samples, 0.5), p99_us: percentile(samples, 0.99) });

  await nextLine();
  await worker.close();
  await queue.close();
}

// Delayed jobs that are due one after the other, so far apart that the worker waits for each. With a backoff the first
// attempts fail, and the second ones count.
async function lateness(backoff) {
  const queue = new Queue(QUEUE, common);
  await queue.waitUntilReady();
  const delays = Array.from({ length: args.jobs }, (_, i) => 500 + 37 * i);
  const late = [];
  const failed = new Map();
  let added;
  const { worker, start, completed } = await makeWorker(QUEUE, args.concurrency, async (job) => {
    const now = performance.now();
    if (backoff && job.attemptsMade === 0) {
      failed.set(job.id, now);
      throw new Error('first attempt');
    }
    const due = backoff ? failed.get(job.id) + backoff : added + delays[Number(job.id) - 1];
    late.push(Math.max(0, now - due));
  });
  start();
  process.stdout.write('ready\n');
  await nextLine();

  const clock = new Clock();
  const more = backoff ? { attempts: 2, backoff: { type: 'fixed', delay: backoff } } : {};
  added = performance.now();
  await queue.addBulk(delays.map((delay) => ({ name: NAME, data: PAYLOAD, opts: { delay, ...more } })));
  await completed(args.jobs);
  const measured = clock.stop();
  late.sort((a, b) => a - b);
  report(args.jobs, measured, { p50_ms: percentile(late, 0.5), p99_ms: percentile(late, 0.99) });

  await nextLine();
  await worker.close();
  await queue.close();
}

// The orchestrator has written the events.
async function events() {
  process.stdout.write('ready\n');
  await nextLine();
  const clock = new Clock();
  const followed = new QueueEvents(QUEUE, { ...common, lastEventId: '0' });
  let seen = 0;
  await new Promise((resolve) => {
    followed.on('completed', () => {
      seen += 1;
      if (seen === args.jobs) resolve();
    });
  });
  report(args.jobs, clock.stop());
  await nextLine();
  await followed.close();
}

// Adds jobs to a queue with a worker in the same process, and waits for all of them.
async function waits() {
  const queue = new Queue(QUEUE, common);
  await queue.waitUntilReady();
  const followed = new QueueEvents(QUEUE, common);
  followed.setMaxListeners(0);
  await followed.waitUntilReady();
  const { worker, start } = await makeWorker(QUEUE, args.concurrency, processorOf('plain'));
  start();
  process.stdout.write('ready\n');
  await nextLine();

  const clock = new Clock();
  const jobs = await queue.addBulk(Array.from({ length: args.jobs }, () => ({ name: NAME, data: PAYLOAD })));
  await Promise.all(jobs.map((job) => job.waitUntilFinished(followed)));
  report(args.jobs, clock.stop());
  await nextLine();
  await worker.close();
  await followed.close();
  await queue.close();
}

// A parent with ten children, one flow after the other.
async function flows() {
  const producer = new FlowProducer(common);
  await producer.waitUntilReady();
  const node = (queueName) => ({ name: NAME, queueName, data: PAYLOAD });
  const flow = (queueName) => ({
    ...node(queueName),
    children: Array.from({ length: 10 }, () => node(queueName)),
  });
  for (let i = 0; i < WARM_SAMPLES; i++) await producer.add(flow(WARM_QUEUE));
  process.stdout.write('ready\n');
  await nextLine();

  const clock = new Clock();
  for (let i = 0; i < Math.floor(args.jobs / 11); i++) await producer.add(flow(QUEUE));
  report(args.jobs, clock.stop());

  await nextLine();
  await producer.close();
}

// Runs of many schedulers of one second, by the time in their ids.
async function schedulers() {
  const queue = new Queue(QUEUE, common);
  await queue.waitUntilReady();
  const late = [];
  const { worker, start } = await makeWorker(QUEUE, args.concurrency, async (job) => {
    late.push(Math.max(0, Date.now() - Number(job.id.split(':').at(-1))));
  });
  start();
  for (let i = 0; i < 1000; i++) {
    await queue.upsertJobScheduler(`s${i}`, { every: 1000 }, { name: NAME, data: PAYLOAD });
  }
  process.stdout.write('ready\n');
  await nextLine();

  const clock = new Clock();
  const before = late.length;
  while (late.length < before + args.jobs) await new Promise((resolve) => setTimeout(resolve, 20));
  const measured = clock.stop();
  const sorted = late.slice(before).sort((a, b) => a - b);
  report(args.jobs, measured, { p50_ms: percentile(sorted, 0.5), p99_ms: percentile(sorted, 0.99) });

  await nextLine();
  await worker.close();
  await queue.close();
}

// One of several processes that empty a queue; the orchestrator says when it is empty.
async function share() {
  const { worker, start } = await makeWorker(QUEUE, args.concurrency, processorOf('plain'));
  process.stdout.write('ready\n');
  await nextLine();
  const clock = new Clock();
  start();
  await nextLine();
  report(args.jobs, clock.stop());
  await nextLine();
  await worker.close();
}

async function idle() {
  const { worker, start } = await makeWorker(QUEUE, args.concurrency, async () => {});
  start();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  process.stdout.write('ready\n');
  await nextLine();

  const clock = new Clock();
  await nextLine();
  const measured = clock.stop();
  const closing = process.hrtime.bigint();
  await worker.close();
  report(0, measured, { close_ms: Number(process.hrtime.bigint() - closing) / 1e6 });
  await nextLine();
}

async function prefill(shape) {
  const queue = new Queue(QUEUE, common);
  await queue.waitUntilReady();
  process.stdout.write('ready\n');
  await nextLine();
  const clock = new Clock();
  await addBulk(queue, shape, args.jobs);
  report(args.jobs, clock.stop());
  await nextLine();
  await queue.close();
}

const works = {
  prefill: () => prefill('plain'),
  prefill_remove: () => prefill('remove'),
  prefill_priority: () => prefill('priority'),
  prefill_delayed: () => prefill('delayed'),
  prefill_retry: () => prefill('retry'),
  add_sequential: () => add(addSequential),
  add_concurrent: () => add(addConcurrent),
  add_bulk: () => add((queue, count) => addBulk(queue, 'plain', count)),
  process: () => processJobs('plain'),
  process_remove: () => processJobs('remove'),
  process_priority: () => processJobs('priority'),
  process_delayed: () => processJobs('delayed'),
  process_retry: () => processJobs('retry'),
  memory: () => processJobs('plain', { watchMemory: true }),
  latency,
  flow_add: flows,
  lateness: () => lateness(0),
  lateness_retry: () => lateness(500),
  events,
  waits,
  scheduler: schedulers,
  share,
  idle,
};

if (!works[args.work]) throw new Error(`unknown work ${args.work}`);
await works[args.work]();
process.exit(0);
