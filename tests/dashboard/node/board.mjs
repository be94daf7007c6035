// Shows queues to bull-board and prints what its API answers: `node board.mjs <redis url> <prefix> <queue>…`.
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import { Queue } from 'bullmq';
import express from 'express';
import { Redis } from 'ioredis';

const [url, prefix, ...names] = process.argv.slice(2);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const queues = names.map((name) => new Queue(name, { connection, prefix }));
const serverAdapter = new ExpressAdapter();
createBullBoard({ queues: queues.map((queue) => new BullMQAdapter(queue)), serverAdapter });
const app = express().use('/', serverAdapter.getRouter());
const server = app.listen(0, '127.0.0.1');
await new Promise((ready) => server.once('listening', ready));
const ask = async (path) => {
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/api${path}`);
  return answer.ok ? answer.json() : { status: answer.status };
};

const answers = {};
for (const name of names) {
  const states = {};
  for (const status of ['waiting', 'prioritized', 'active', 'delayed', 'waiting-children', 'failed', 'completed', 'paused']) {
    const { queues: shown } = await ask(`/queues?activeQueue=${name}&status=${status}&page=1&jobsPerPage=50`);
    const queue = shown.find((queue) => queue.name === name);
    states.counts = queue.counts;
    states.isPaused = queue.isPaused;
    states[status] = queue.jobs;
    for (const job of queue.jobs) {
      const at = `/queues/${name}/${encodeURIComponent(job.id)}`;
      job.alone = await ask(at);
      job.logs = await ask(`${at}/logs`);
    }
  }
  answers[name] = states;
}
console.log(JSON.stringify(answers));
server.close();
await Promise.all(queues.map((queue) => queue.close()));
process.exit(0);
