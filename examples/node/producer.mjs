// Asks for a build of each index that is named, as index_watcher does: from Node, by BullMQ as it is.
//
//   REDIS_URL=redis://127.0.0.1:6379 node producer.mjs ROOT INDEX…     ROOT is the repository, where bullmq is found
import { createRequire } from 'node:module';
import path from 'node:path';

const [, , root, ...indexes] = process.argv;
const { Queue } = createRequire(path.join(root, 'tests/interop/node/'))('bullmq');
const connection = { url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379', maxRetriesPerRequest: null };

const queue = new Queue('indexes', { connection });
for (const index of indexes) {
  const job = await queue.add(
    'build-index',
    { index },
    {
      attempts: 5,
      backoff: { type: 'exponential', delay: 200 },
      deduplication: { id: index, keepLastIfActive: true },
    },
  );
  console.log(`asked for ${index}: job ${job.id}`);
}
await queue.close();
