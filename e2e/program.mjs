// What programs here have in common: what was expected and not found, and the way they are spoken with.

import { createInterface } from 'node:readline';

let failed = 0;
export const expect = (what, found, wanted) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    failed += 1;
    process.stdout.write(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}\n`);
  }
};

// Says at which port the program is, has `check` look at the gateway at the addresses that come back, and ends.
export const run = (port, check) => {
  process.stdout.write(`port ${port}\n`);
  createInterface({ input: process.stdin }).once('line', async (addresses) => {
    try {
      await check(...addresses.trim().split(' '));
    } catch (error) {
      failed += 1;
      process.stdout.write(`${error.stack}\n`);
    }
    process.stdout.write(`${failed} failed\n`);
    process.exit(failed === 0 ? 0 : 1);
  });
};
