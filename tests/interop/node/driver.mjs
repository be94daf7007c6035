// Drives one version of BullMQ by lines of JSON: `{id, op, queue, prefix, now?, ...args}` on stdin is answered by
// `{id, ok}` or `{id, err: {message, code, name}}` on stdout. Started as `node driver.mjs <5|6> <redis url>`.
//
// One process serves many queues. Operations of one client run one after the other unless they are known to wait
// (`waitUntilFinished`), so that a fixed clock holds for a whole operation.

import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { createInterface } from 'node:readline';

const [version, url] = process.argv.slice(2);

// The clock: null is real time. Timers keep running on real time.
let now = null;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 && now !== null ? [now] : args));
  }
  static now() {
    return now ?? RealDate.now();
  }
};

// Counted "random" numbers, on request: 0.0, 0.1 … 0.9, 0.0 …
const realRandom = Math.random;
const realUuid = crypto.randomUUID;
function countRandom(on) {
  let drawn = 0;
  let uuids = 0;
  Math.random = on ? () => (drawn++ % 10) / 10 : realRandom;
  crypto.randomUUID = on
    ? () => `00000000-0000-4000-8000-${String(++uuids).padStart(12, '0')}`
    : realUuid;
  globalThis.crypto.randomUUID = crypto.randomUUID;
  syncBuiltinESMExports();
}

const bull = await import(version === '5' ? 'bullmq5' : 'bullmq6');
const { default: IORedis } = await import('ioredis');

const connection = url.startsWith('redis+cluster://')
  ? new IORedis.Cluster(
      url
        .slice('redis+cluster://'.length)
        .split(',')
        .map((host) => ({ host: host.split(':')[0], port: Number(host.split(':')[1]) })),
      { redisOptions: { maxRetriesPerRequest: null } },
    )
  : new IORedis(url, { maxRetriesPerRequest: null });
connection.on('error', (err) => console.error('redis:', err.message));

const queues = new Map(); // prefix + queue -> Queue
const hands = new Map(); // prefix + queue -> Worker without a processor, moved by hand
const flows = new Map(); // prefix -> FlowProducer
const live = new Map(); // prefix + queue + name -> {worker, ledger, errors}
const listeners = new Map(); // prefix + queue -> {events, seen}

let traced = null; // telemetry.mjs, once it is asked for: then all queues and workers are traced by bullmq-otel

const complain = (what) => (err) => console.error(`${what}:`, err.message);
const keyOf = (a) => `${a.prefix}\0${a.queue}`;

async function queueOf(a) {
  let queue = queues.get(keyOf(a));
  if (!queue) {
    queue = await openQueue(a, {});
  }
  return queue;
}

async function openQueue(a, opts) {
  await queues.get(keyOf(a))?.close();
  const queue = new bull.Queue(a.queue, { connection, prefix: a.prefix, ...opts, telemetry: traced?.telemetry });
  queue.on('error', complain('queue'));
  queues.set(keyOf(a), queue);
  await queue.waitUntilReady();
  await queue.getVersion(); // answers only after the constructor has written its `meta`
  return queue;
}

// Backoff strategies have to be named by their outcome, functions do not travel: `{type: delay of the k-th failure}`.
const strategy = (table) => (made, type, err) => {
  const row = table?.[type];
  if (row === undefined) {
    throw new Error(`Unknown backoff strategy ${type}`);
  }
  return Array.isArray(row) ? (row[Math.min(made, row.length) - 1] ?? 0) : row;
};

function workerOptions(a, { backoffTable, ...opts }) {
  const settings = backoffTable ? { backoffStrategy: strategy(backoffTable) } : undefined;
  return { connection, prefix: a.prefix, ...opts, telemetry: traced?.telemetry, ...(settings && { settings }) };
}

async function handOf(a, opts) {
  let worker = hands.get(keyOf(a));
  if (worker && !opts) {
    return worker;
  }
  await worker?.close(true);
  worker = new bull.Worker(a.queue, null, {
    ...workerOptions(a, opts ?? {}),
    autorun: false,
    skipStalledCheck: true,
    skipLockRenewal: true,
  });
  worker.on('error', complain('worker'));
  hands.set(keyOf(a), worker);
  await worker.waitUntilReady();
  return worker;
}

function flowOf(a) {
  let flow = flows.get(a.prefix);
  if (!flow) {
    flow = new bull.FlowProducer({ connection, prefix: a.prefix });
    flow.on('error', complain('flow'));
    flows.set(a.prefix, flow);
  }
  return flow;
}

// A job to call methods on. One that is not stored gets a handle of its own, so that the server can answer.
async function jobOf(owner, id) {
  const stored = await bull.Job.fromId(owner, id);
  if (stored) {
    return stored;
  }
  const handle = new bull.Job(owner, 'missing', {}, {}, id);
  handle.stacktrace = [];
  return handle;
}

const firstLine = (text) => String(text).split('\n', 1)[0];

function view(job) {
  if (!job) {
    return null;
  }
  const shown = {
    id: job.id,
    name: job.name,
    data: job.data,
    opts: job.opts,
    progress: job.progress,
    returnvalue: job.returnvalue ?? null,
    stacktrace: (job.stacktrace ?? []).map(firstLine),
    delay: job.delay ?? 0,
    priority: job.priority ?? 0,
    attemptsStarted: job.attemptsStarted,
    attemptsMade: job.attemptsMade,
    stalledCounter: job.stalledCounter,
    timestamp: job.timestamp,
  };
  for (const field of [
    'finishedOn',
    'processedOn',
    'failedReason',
    'deferredFailure',
    'deduplicationId',
    'repeatJobKey',
    'parentKey',
    'parent',
    'processedBy',
    'token',
  ]) {
    if (job[field] !== undefined && job[field] !== null) {
      shown[field] = job[field];
    }
  }
  return shown;
}

// What a finishing call hands back: only which job comes next; the rest of it is in the keys.
function next(tuple) {
  if (!Array.isArray(tuple)) {
    return { next: null, limited: false, delayUntil: 0 };
  }
  const [job, id, limit, delay] = tuple;
  return { next: job && id ? String(id) : null, limited: Number(limit ?? 0) > 0, delayUntil: Number(delay ?? 0) };
}

function failure({ message, kind }) {
  const err =
    kind === 'unrecoverable'
      ? new bull.UnrecoverableError(message)
      : kind === 'rateLimit'
        ? new bull.RateLimitError()
        : new Error(message);
  err.stack = `${err.name}: ${err.message}\n    at processor`;
  return err;
}

const tree = (node) =>
  node && {
    job: view(node.job),
    children: (node.children ?? []).map(tree).sort((a, b) => (a.job.id < b.job.id ? -1 : 1)),
  };

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A live processor for each behaviour: `name` or `{name, ...}`.
function processor(behaviour, ledger) {
  const b = typeof behaviour === 'string' ? { kind: behaviour } : behaviour;
  return async (job, token, signal) => {
    const entry = { id: job.id, name: job.name, attempt: job.attemptsMade + 1, start: RealDate.now() };
    ledger.push(entry);
    try {
      let value = null;
      switch (b.kind) {
        case 'complete':
          value = b.value ?? null;
          break;
        case 'echo':
          value = job.data;
          break;
        case 'sleep':
          await sleep(b.ms);
          break;
        case 'fail':
          throw new Error(b.message ?? 'told to fail');
        case 'unrecoverable':
          throw new bull.UnrecoverableError(b.message ?? 'told to give up');
        case 'failFirst':
          if (job.attemptsMade < b.times) {
            throw new Error(b.message ?? `failure ${job.attemptsMade + 1}`);
          }
          break;
        case 'progress':
          for (const step of b.steps) {
            await job.updateProgress(step);
          }
          break;
        case 'delayOnce':
          if (job.attemptsStarted === 1) {
            await job.moveToDelayed(Date.now() + b.ms, token);
            throw new bull.DelayedError();
          }
          break;
        case 'plan': // what the job itself says
          if (job.data.progress) {
            await job.updateProgress({ attempt: job.attemptsMade + 1 });
          }
          if (job.data.fails > job.attemptsMade) {
            throw new Error(`failure ${job.attemptsMade + 1} of ${job.data.n}`);
          }
          value = { n: job.data.n, by: 'node' };
          break;
        case 'untilCancelled':
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
          throw new Error('stopped half-way');
        case 'childrenValues':
          value = await job.getChildrenValues();
          break;
        default:
          throw new Error(`no such behaviour: ${b.kind}`);
      }
      entry.outcome = 'completed';
      return value;
    } catch (err) {
      entry.outcome = err.message;
      throw err;
    } finally {
      entry.end = RealDate.now();
    }
  };
}

const EVENTS = [
  'active', 'added', 'cleaned', 'completed', 'debounced', 'deduplicated', 'delayed', 'drained', 'duplicated', 'failed',
  'paused', 'progress', 'removed', 'resumed', 'retries-exhausted', 'stalled', 'waiting', 'waiting-children',
];

const onQueue = (run) => async (a) => run(await queueOf(a), a);
const onJob = (run) => async (a) => run(await jobOf(await queueOf(a), a.job), a);
// Steps of a worker. The queue is opened too: it is what writes `meta`.
const onHand = (run) => async (a) => {
  await queueOf(a);
  return run(await handOf(a), a);
};
const onHeld = (run) =>
  onHand(async (worker, a) => {
    const job = await jobOf(worker, a.job);
    job.token = a.token;
    return run(job, a);
  });

const ops = {
  traceAll: async () => {
    traced = await import('./telemetry.mjs');
  },
  spans: async () => traced.spans,
  random: async ({ counted }) => countRandom(counted),
  clock: async (a) => {
    now = a.to;
  },

  // Opening
  setQueue: async (a) => void (await openQueue(a, a.opts)),
  setWorker: async (a) => {
    await queueOf(a);
    await handOf(a, a.opts);
  },
  closeQueue: async (a) => {
    await queues.get(keyOf(a))?.close();
    await hands.get(keyOf(a))?.close(true);
    queues.delete(keyOf(a));
    hands.delete(keyOf(a));
  },

  closeAll: async () => {
    await Promise.allSettled(
      [...hands.values(), ...flows.values(), ...queues.values()].map((o) => o.close(true)),
    );
    hands.clear();
    flows.clear();
    queues.clear();
  },

  // Adding
  add: onQueue(async (q, a) => ({ id: (await q.add(a.name, a.data, a.opts)).id })),
  addBulk: onQueue(async (q, a) => (await q.addBulk(a.jobs)).map((job) => ({ id: job.id }))),
  flowAdd: async (a) => tree2ids(await flowOf(a).add(a.flow)),
  flowAddBulk: async (a) => (await flowOf(a).addBulk(a.flows)).map(tree2ids),
  upsertJobScheduler: onQueue(async (q, a) => {
    const job = await q.upsertJobScheduler(a.scheduler, a.repeat, a.template ?? {});
    return { id: job?.id ?? null };
  }),
  removeJobScheduler: onQueue((q, a) => q.removeJobScheduler(a.scheduler)),

  // Steps of a worker, by hand
  getNextJob: onHand(async (worker, a) => {
    // What the worker remembers of former empty answers would keep it from asking.
    worker.limitUntil = 0;
    worker.blockUntil = 0;
    worker.drained = false;
    const job = await worker.getNextJob(a.token, { block: false });
    return {
      job: view(job),
      limited: worker.limitUntil > 0,
      delayUntil: Math.floor(worker.blockUntil || 0),
    };
  }),
  moveToCompleted: onHeld(async (job, a) => next(await job.moveToCompleted(a.value, a.token, a.fetchNext ?? false))),
  moveToFailed: onHeld(async (job, a) => next(await job.moveToFailed(failure(a), a.token, a.fetchNext ?? false))),
  moveToDelayed: onHeld(async (job, a) => void (await job.moveToDelayed(a.timestamp, a.token))),
  moveToWait: onHeld(async (job, a) => (await job.moveToWait(a.token)) > 0),
  moveToWaitingChildren: onHeld((job, a) => job.moveToWaitingChildren(a.token, a.opts ?? {})),
  extendLock: onHeld(async (job, a) => (await job.extendLock(a.token, a.duration)) === 1),
  extendLocks: onHand((worker, a) => worker.extendJobLocks(a.jobs, a.tokens, a.duration)),
  workerRateLimit: onHand((worker, a) => worker.rateLimit(a.ms)),
  stalledCheck: onHand(async (worker) => {
    const stalled = [];
    const note = (id) => stalled.push(id);
    worker.on('stalled', note);
    try {
      await worker.moveStalledJobsToWait();
    } finally {
      worker.off('stalled', note);
    }
    return stalled.sort();
  }),

  // One job
  updateData: onJob((job, a) => job.updateData(a.data)),
  updateProgress: onJob((job, a) => job.updateProgress(a.progress)),
  log: onJob((job, a) => job.log(a.row)),
  clearLogs: onJob((job, a) => job.clearLogs(a.keep)),
  promote: onJob((job) => job.promote()),
  changeDelay: onJob((job, a) => job.changeDelay(a.delay)),
  changePriority: onJob((job, a) => job.changePriority(a.opts)),
  retryJob: onJob((job, a) => job.retry(a.state, a.opts ?? {})),
  removeJob: onJob((job, a) => job.remove(a.opts ?? {})),
  removeJobDeduplicationKey: onJob((job) => job.removeDeduplicationKey()),
  removeUnprocessedChildren: onJob((job) => job.removeUnprocessedChildren()),
  removeChildDependency: onJob((job) => job.removeChildDependency()),
  isInState: onJob((job, a) => job[`is${a.state}`]()),

  // The queue
  addJobLog: onQueue((q, a) => q.addJobLog(a.job, a.row, a.keep ?? undefined)),
  pause: onQueue((q) => q.pause()),
  resume: onQueue((q) => q.resume()),
  drain: onQueue((q, a) => q.drain(a.delayed ?? false)),
  clean: onQueue((q, a) => q.clean(a.grace, a.limit, a.state)),
  obliterate: onQueue((q, a) => q.obliterate(a.opts ?? {})),
  remove: onQueue((q, a) => q.remove(a.job, a.opts ?? {})),
  retryJobs: onQueue((q, a) => q.retryJobs(a.opts ?? {})),
  promoteJobs: onQueue((q, a) => q.promoteJobs(a.opts ?? {})),
  removeDeduplicationKey: onQueue((q, a) => q.removeDeduplicationKey(a.deduplication)),
  setGlobalConcurrency: onQueue((q, a) => q.setGlobalConcurrency(a.concurrency).then(() => null)),
  removeGlobalConcurrency: onQueue((q) => q.removeGlobalConcurrency().then(() => null)),
  setGlobalRateLimit: onQueue((q, a) => q.setGlobalRateLimit(a.max, a.duration).then(() => null)),
  removeGlobalRateLimit: onQueue((q) => q.removeGlobalRateLimit().then(() => null)),
  rateLimit: onQueue((q, a) => q.rateLimit(a.ms)),
  removeRateLimitKey: onQueue((q) => q.removeRateLimitKey().then(Boolean)),
  removeOrphanedJobs: onQueue((q) => q.removeOrphanedJobs()),
  trimEvents: onQueue((q, a) => q.trimEvents(a.max).then(() => null)),

  // Reading
  getJob: onQueue(async (q, a) => view(await q.getJob(a.job))),
  getState: onQueue((q, a) => q.getJobState(a.job)),
  getJobCounts: onQueue((q, a) => q.getJobCounts(...a.states)),
  getCountsPerPriority: onQueue((q, a) => q.getCountsPerPriority(a.priorities)),
  count: onQueue((q) => q.count()),
  getJobs: onQueue(async (q, a) => (await q.getJobs(a.states, a.start, a.end, a.asc)).map((job) => job?.id ?? null)),
  getRanges: onQueue((q, a) => q.getRanges(a.states, a.start, a.end, a.asc)),
  getJobLogs: onQueue((q, a) => q.getJobLogs(a.job, a.start, a.end, a.asc)),
  getDeduplicationJobId: onQueue((q, a) => q.getDeduplicationJobId(a.deduplication)),
  isPaused: onQueue((q) => q.isPaused()),
  isMaxed: onQueue((q) => q.isMaxed()),
  getGlobalConcurrency: onQueue((q) => q.getGlobalConcurrency()),
  getGlobalRateLimit: onQueue((q) => q.getGlobalRateLimit()),
  getRateLimitTtl: onQueue(async (q, a) => Math.max(0, Math.sign(await q.getRateLimitTtl(a.max ?? undefined)))),
  getMetrics: onQueue((q, a) => q.getMetrics(a.state, a.start ?? 0, a.end ?? -1)),
  exportPrometheusMetrics: onQueue((q, a) => q.exportPrometheusMetrics(a.globals ?? undefined)),
  getMeta: onQueue(async (q) => {
    const { version, ...meta } = await q.getMeta();
    return meta;
  }),
  getVersion: onQueue((q) => q.getVersion()),
  getWorkers: onQueue(async (q) => (await q.getWorkers()).map((w) => ({ name: w.name, rawname: w.rawname }))),
  getQueueEvents: onQueue(async (q) => (await q.getQueueEvents()).map((w) => ({ name: w.name, rawname: w.rawname }))),
  isFinished: onQueue(async (q, a) => {
    const [status, value] = await (q.scripts ?? q.backend).isFinished(a.job, true);
    return { status: Number(status), value: value ?? null };
  }),
  getJobScheduler: onQueue((q, a) => q.getJobScheduler(a.scheduler)),
  getJobSchedulers: onQueue((q) => q.getJobSchedulers(0, -1, true)),
  getJobSchedulersCount: onQueue((q) => q.getJobSchedulersCount()),
  getFlow: async (a) => tree(await flowOf(a).getFlow({ queueName: a.queue, id: a.job, prefix: a.prefix })),
  getChildrenValues: onJob((job) => job.getChildrenValues()),
  getIgnoredChildrenFailures: onJob((job) => job.getIgnoredChildrenFailures()),
  getDependenciesCount: onJob((job, a) => job.getDependenciesCount(a.opts ?? {})),
  getDependencies: onJob(async (job) => {
    const found = await job.getDependencies();
    for (const [name, value] of Object.entries(found)) {
      found[name] = Array.isArray(value) ? value.sort() : value;
    }
    return found;
  }),

  // When cron patterns are due, by the parser that BullMQ uses: times, or the error.
  cron: async (a) => {
    const { CronExpressionParser } = await import('cron-parser');
    return a.cases.map(({ pattern, tz, from, count, hashSeed }) => {
      try {
        let at = from;
        return Array.from({ length: count }, () => {
          at = CronExpressionParser.parse(pattern, { currentDate: at, tz, hashSeed }).next().getTime();
          return at;
        });
      } catch (err) {
        return err.message;
      }
    });
  },

  // Running on their own
  startWorker: async (a) => {
    // A worker alone writes no `meta`, which a test may have reasons to want.
    if (!a.alone) {
      await queueOf(a);
    }
    const name = `${keyOf(a)}\0${a.worker ?? ''}`;
    const ledger = [];
    const errors = [];
    const worker = new bull.Worker(a.queue, processor(a.behaviour, ledger), workerOptions(a, a.opts ?? {}));
    worker.on('error', (err) => errors.push(err.message));
    live.set(name, { worker, ledger, errors });
    if (a.cancels) {
      // As docs/cancellation.md says.
      const events = new bull.QueueEvents(a.queue, { connection, prefix: a.prefix, lastEventId: '0-0' });
      events.on('error', complain('events'));
      events.on('cancelling', ({ jobId, reason }) => worker.cancelJob(jobId, reason));
      listeners.set(`${name} cancels`, { events });
      await events.waitUntilReady();
    }
    await worker.waitUntilReady();
  },
  workerLedger: async (a) => {
    const { ledger, errors } = live.get(`${keyOf(a)}\0${a.worker ?? ''}`);
    return { ledger, errors };
  },
  stopWorker: async (a) => {
    const name = `${keyOf(a)}\0${a.worker ?? ''}`;
    await live.get(name)?.worker.close(a.force ?? false);
    live.delete(name);
  },
  startQueueEvents: async (a) => {
    const events = new bull.QueueEvents(a.queue, { connection, prefix: a.prefix, ...a.opts });
    const seen = [];
    events.on('error', complain('events'));
    for (const event of EVENTS) {
      events.on(event, (args) => seen.push({ event, ...args }));
    }
    listeners.set(keyOf(a), { events, seen });
    await events.waitUntilReady();
  },
  takeEvents: async (a) => listeners.get(keyOf(a)).seen.splice(0),
  stopQueueEvents: async (a) => {
    await listeners.get(keyOf(a))?.events.close();
    listeners.delete(keyOf(a));
  },
  waitUntilFinished: onJob((job, a) => job.waitUntilFinished(listeners.get(keyOf(a)).events, a.ttl ?? undefined)),
};

function tree2ids(node) {
  return {
    id: node.job.id,
    ...(node.children && { children: node.children.map(tree2ids) }),
  };
}

async function quit() {
  const everything = [
    ...[...live.values()].map((l) => l.worker.close(true)),
    ...[...listeners.values()].map((l) => l.events.close()),
    ...[...hands.values(), ...flows.values(), ...queues.values()].map((o) => o.close(true)),
  ];
  await Promise.race([Promise.allSettled(everything), sleep(2000)]);
  connection.disconnect();
  process.exit(0);
}

async function answer({ id, op, now: at, ...args }) {
  let reply;
  try {
    if (at !== undefined) {
      now = at;
    }
    const run = ops[op];
    if (!run) {
      throw new Error(`driver: no such operation: ${op}`);
    }
    reply = { id, ok: (await run(args)) ?? null };
  } catch (err) {
    reply = { id, err: { message: String(err?.message ?? err), code: err?.code ?? null, name: err?.name ?? null } };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

// Operations that may wait long run beside the others; the rest keep their order.
let last = Promise.resolve();
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const request = JSON.parse(line);
    if (request.op === 'quit') {
      last = last.then(quit);
    } else if (request.op === 'waitUntilFinished') {
      // Behind what came before it, but in nobody's way.
      last.then(() => void answer(request));
    } else {
      last = last.then(() => answer(request));
    }
  })
  // Whoever started this process is gone: end too, soon.
  .on('close', () => {
    last.then(quit);
    setTimeout(() => process.exit(0), 3000).unref();
  });
process.on('unhandledRejection', (err) => console.error('unhandled:', err));
process.stdout.write(`${JSON.stringify({ id: 0, ok: { version } })}\n`);
