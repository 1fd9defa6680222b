// What programs here begin and end with: the package oidc-provider, from the folder that is the first argument; pairs of keys;
// and what all programs have.

import { generateKeyPairSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

export { expect, run } from '../program.mjs';

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
