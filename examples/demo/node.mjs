// The Node side of `make demo`: BullMQ as it is, from tests/interop/node.
//
//   node node.mjs produce URL ROOT FILE…   adds a job per file, listens until all have finished, tells what it saw
//   node node.mjs process URL ROOT         runs a BullMQ worker until its standard input closes
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

const [, , role, url, root, ...files] = process.argv;
const { Queue, QueueEvents, Worker } = createRequire(path.join(root, 'tests/interop/node/'))('bullmq');
const connection = { url, maxRetriesPerRequest: null };
const say = (text) => console.log(`  node   ${text}`);

async function produce() {
  const queue = new Queue('to-rust', { connection });
  const events = new QueueEvents('to-rust', { connection, lastEventId: '0-0' });
  await events.waitUntilReady();
  const seen = { completed: 0, failed: 0, delayed: 0, progress: 0, words: 0, reasons: [] };
  let finish;
  const allDone = new Promise((resolve) => (finish = resolve));
  const count = () => seen.completed + seen.failed === files.length && finish();
  events.on('completed', ({ returnvalue }) => {
    seen.completed += 1;
    seen.words += returnvalue.words;
    count();
  });
  events.on('failed', ({ failedReason }) => {
    seen.failed += 1;
    seen.reasons.push(failedReason);
    count();
  });
  events.on('delayed', () => (seen.delayed += 1));
  events.on('progress', () => (seen.progress += 1));

  const jobs = files.map((file, i) => {
    const opts = { attempts: 3, backoff: { type: 'exponential', delay: 40 } };
    if (i % 7 === 3) opts.delay = 300;
    else if (i % 5 === 2) opts.priority = 1 + (i % 3);
    return { name: 'count', data: { file, flaky: i % 6 === 1 }, opts };
  });
  await queue.addBulk(jobs);
  const has = (option) => jobs.filter(({ opts }) => option in opts).length;
  say(`added ${jobs.length} jobs: ${has('delay')} delayed, ${has('priority')} with a priority`);
  await allDone;

  const counts = await queue.getJobCounts('completed', 'failed', 'wait', 'active', 'delayed');
  const retried = (await queue.getJobs(['completed'])).filter((job) => job.attemptsMade > 1).length;
  say(`events: ${seen.completed} completed, ${seen.failed} failed, ${seen.progress} progress, ${seen.delayed} delayed`);
  say(`getJobCounts: ${JSON.stringify(counts)}`);
  for (const reason of new Set(seen.reasons)) say(`failed with: ${reason}`);
  console.log(JSON.stringify({ ...seen, counts, retried }));
  await events.close();
  await queue.close();
}

async function work() {
  const worker = new Worker(
    'to-node',
    async (job) => {
      if (job.data.flaky && job.attemptsMade === 0) throw new Error('a hiccup, on purpose');
      const text = await readFile(path.join(root, job.data.file), 'utf8');
      await job.updateProgress(100);
      return { words: text.split(/\s+/).filter(Boolean).length };
    },
    { connection, concurrency: 8 },
  );
  await worker.waitUntilReady();
  console.log('ready');
  await once(process.stdin.resume(), 'end');
  await worker.close();
}

await (role === 'produce' ? produce() : work());
