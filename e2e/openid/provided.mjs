// What programs here begin and end with: the package oidc-provider, from the folder that is the first argument; pairs of keys;
// what was expected and not found; and the way they are spoken with.

import { generateKeyPairSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
export const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
// The provider warns of settings that are not for production, and of plain HTTP.
console.warn = () => {};
console.info = () => {};

// A private key and its public half.
export const key = (kid) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const named = { kid, use: 'sig', alg: 'ES256' };
  return [privateKey, publicKey].map((half) => ({ ...half.export({ format: 'jwk' }), ...named }));
};

let failed = 0;
export const expect = (what, found, wanted) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    failed += 1;
    process.stdout.write(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}\n`);
  }
};

// Says where the provider is, has `check` look at the gateway at the addresses that come back, and ends.
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
