// A service that checks the gateway's tokens with a library for JSON Web Tokens (the package jose), the issuer of a client's
// tokens, and the client. Says "port N" on the standard output, reads the addresses of the gateway (proxy, status, admin) from the
// standard input, then says what went wrong and "N failed". The folder with the package is the first argument.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { expect, run } from '../program.mjs';

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const jose = await import(pathToFileURL(require.resolve('jose')));

const theirs = await jose.generateKeyPair('ES256', { extractable: true });
const stranger = await jose.generateKeyPair('ES256');
const published = { keys: [{ ...(await jose.exportJWK(theirs.publicKey)), kid: 'theirs', alg: 'ES256', use: 'sig' }] };

// What the service makes of a request: filled in once the gateway is known.
let judge = async () => ({});
const seen = [];
const server = createServer(async (request, response) => {
  const answer = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  if (request.url === '/keys') return answer(200, published);
  seen.push(request.headers);
  try {
    answer(200, await judge(request.headers.authorization ?? ''));
  } catch (error) {
    answer(401, { error: error.code ?? error.message });
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const sign = (key, claims) => new jose.SignJWT({ scope: 'read', ...claims })
  .setProtectedHeader({ alg: 'ES256', kid: 'theirs' }).setIssuer('https://login.test').setSubject('ada')
  .setExpirationTime('2 min').sign(key);

const check = async (proxy, status, admin) => {
  const keys = jose.createRemoteJWKSet(new URL(`http://${status}/.well-known/jwks.json`));
  const rules = { issuer: 'gateway', audience: 'orders', requiredClaims: ['jti'], algorithms: ['ES256', 'RS256'] };
  judge = async (authorization) => {
    const { payload, protectedHeader } = await jose.jwtVerify(authorization.replace(/^Bearer /, ''), keys, rules);
    return { ...payload, kid: protectedHeader.kid };
  };
  const ask = async (path, headers) => {
    const response = await fetch(`http://${proxy}${path}`, { headers });
    return { status: response.status, ...(await response.json()) };
  };

  const ada = await ask('/internal', { apikey: 'a key of ada' });
  expect('who calls', [ada.status, ada.consumer?.username, ada.groups, ada.environment], [200, 'ada', ['buyers'], 'test']);
  expect('a key stays behind', seen.at(-1).apikey, undefined);
  expect('headers that say the same', seen.at(-1)['x-consumer-username'], undefined);
  const again = await ask('/internal', { apikey: 'a key of ada', authorization: `Bearer ${await sign(theirs.privateKey)}` });
  expect('the same token for the same caller', again.jti, ada.jti);
  expect('another caller', (await ask('/internal', { apikey: 'a key of bob' })).consumer?.username, 'bob');
  expect('nobody', (await ask('/internal', {})).status, 401);
  const open = await ask('/open', { authorization: `Bearer ${await sign(theirs.privateKey)}` });
  expect('no token without authentication, and none of the client', [open.status, seen.at(-1).authorization], [401, undefined]);

  const token = await sign(theirs.privateKey, { aud: 'orders', jti: 'one' });
  const signed = await ask('/signed', { authorization: `Bearer ${token}` });
  expect('a token signed anew', [signed.status, signed.sub, signed.original_iss], [200, 'ada', 'https://login.test']);
  expect('it is another one', seen.at(-1).authorization === `Bearer ${token}`, false);
  const forged = await sign(stranger.privateKey, { aud: 'orders', jti: 'two' });
  expect('a token of somebody else', (await ask('/signed', { authorization: `Bearer ${forged}` })).status, 401);

  for (const path of ['/upstream-jwt/jwks/biplane/rotate', '/jwt-signer/jwks/kong/rotate']) {
    expect(`rotation by ${path}`, (await fetch(`http://${admin}${path}`, { method: 'POST' })).status, 200);
  }
  const rotated = await ask('/internal', { apikey: 'a key of ada' });
  expect('a token of the next key', [rotated.status, rotated.kid === ada.kid], [200, false]);
  const resigned = await ask('/signed', { authorization: `Bearer ${token}` });
  expect('one of the next key, signed anew', [resigned.status, resigned.kid === signed.kid], [200, false]);
  expect('rotation of unknown keys', (await fetch(`http://${admin}/upstream-jwt/jwks/none/rotate`, { method: 'POST' })).status, 404);
  expect('rotation where services read', (await fetch(`http://${status}/jwt-signer/jwks/kong/rotate`, { method: 'POST' })).status, 404);
  const document = await (await fetch(`http://${status}/.well-known/jwks.json`)).text();
  expect('nothing private is published', /"(d|p|q|dp|dq|qi|k)":/.test(document), false);
};

run(server.address().port, check);
