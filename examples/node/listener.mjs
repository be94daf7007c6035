// Tells what becomes of builds, whoever asked for them and whoever builds: from Node, by BullMQ as it is.
//
//   REDIS_URL=redis://127.0.0.1:6379 node listener.mjs ROOT [FROM]     FROM is the id of an event; from the beginning by default
import { createRequire } from 'node:module';
import path from 'node:path';

const [, , root, from = '0-0'] = process.argv;
const { QueueEvents } = createRequire(path.join(root, 'tests/interop/node/'))('bullmq');
const connection = { url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379', maxRetriesPerRequest: null };

const events = new QueueEvents('indexes', { connection, lastEventId: from });
events.on('completed', ({ returnvalue }, id) => {
  console.log(`${id} built ${returnvalue.index} ${returnvalue.revision}`);
});
events.on('failed', ({ jobId, failedReason }, id) => console.log(`${id} failed ${jobId}: ${failedReason}`));
await events.waitUntilReady();
console.log('listening');
process.on('SIGTERM', () => events.close().then(() => process.exit(0)));
