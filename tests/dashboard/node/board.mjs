// Shows queues to bull-board and prints what each of its routes that read answers of each queue:
// `node board.mjs <redis url> <prefix> <queue>…`.
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import { Queue } from 'bullmq';
import express from 'express';
import { Redis } from 'ioredis';
import routing from './node_modules/@bull-board/api/dist/routes.js';

const STATUSES =
  ['latest', 'waiting', 'prioritized', 'active', 'delayed', 'waiting-children', 'failed', 'completed', 'paused'];

const [url, prefix, ...names] = process.argv.slice(2);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const queues = names.map((name) => new Queue(name, { connection, prefix }));
const serverAdapter = new ExpressAdapter();
createBullBoard({ queues: queues.map((queue) => new BullMQAdapter(queue)), serverAdapter });
const app = express().use('/', serverAdapter.getRouter());
const server = app.listen(0, '127.0.0.1');
await new Promise((ready) => server.once('listening', ready));
const ask = async (path) => {
  const answer = await fetch(`http://127.0.0.1:${server.address().port}${path}`);
  return answer.ok ? answer.json() : { status: answer.status };
};

// What a route is asked about, beside the queue.
const QUERIES = {
  '/api/queues': (name) => [
    ...STATUSES.map((status) => `activeQueue=${name}&status=${status}&page=1&jobsPerPage=50`),
    `activeQueue=${name}&status=latest&page=2&jobsPerPage=2`,
    `activeQueue=${name}&status=failed&page=2&jobsPerPage=1`,
  ],
  '/api/job-schedulers': (name) => [`queueName=${name}`],
  '/api/queues/:queueName/:jobId/flow': () => ['', 'root=node', 'depth=2&maxChildren=1'],
};

const reads = routing.appRoutes.api.filter(({ method }) => method === 'get').map(({ route }) => route);
const answers = {};
for (const name of names) {
  const ids = new Set();
  const told = {};
  // The lists come first: they name the jobs.
  for (const route of ['/api/queues', ...reads.filter((route) => route !== '/api/queues')]) {
    const about = route.includes(':jobId') ? [...ids].sort() : [''];
    for (const id of about) {
      for (const query of QUERIES[route]?.(name) ?? ['']) {
        const path = route.replace(':queueName', name).replace(':jobId', encodeURIComponent(id));
        const answer = await ask(query ? `${path}?${query}` : path);
        if (route === '/api/queues') {
          answer.queues = answer.queues.filter((queue) => queue.name === name);
          for (const job of answer.queues[0].jobs) ids.add(job.id);
        }
        told[`${route} ${id} ${query.replace(name, 'NAME')}`] = answer;
      }
    }
  }
  answers[name] = told;
}
// All of it, before this process ends.
await new Promise((written) => process.stdout.write(JSON.stringify({ reads, answers }), written));
server.close();
await Promise.all(queues.map((queue) => queue.close()));
process.exit(0);
