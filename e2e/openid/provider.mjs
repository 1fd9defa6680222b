// A certified OpenID Connect provider (the package oidc-provider), and a client that gets tokens there and brings them to the
// gateway. Says "port N" on the standard output, reads the gateway's addresses from the standard input, then says what went wrong
// and "N failed". The folder with the package is the first argument.

import { createServer } from 'node:http';
import { expect, key, Provider, run } from './provided.mjs';

// Tokens for the resource urn:orders are JSON Web Tokens, all others opaque.
const configuration = (keys) => ({
  jwks: { keys },
  clients: [
    {
      client_id: 'caller', client_secret: 'a secret: of the caller', grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [],
    },
    {
      client_id: 'gateway', client_secret: 'a secret: of the gateway & more', grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [],
    },
  ],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  scopes: ['orders.read', 'orders.write'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => undefined,
      getResourceServerInfo: async () => ({
        scope: 'orders.read orders.write', audience: 'orders', accessTokenFormat: 'jwt', accessTokenTTL: 60,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  ttl: { ClientCredentials: 60 },
});

let answer = (request, response) => response.writeHead(503).end();
const asked = [];
const server = createServer((request, response) => {
  asked.push(request.url);
  answer(request, response);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provide = (...keys) => {
  const provider = new Provider(issuer, configuration(keys));
  const callback = provider.callback();
  answer = (request, response) => callback(request, response);
};
const goDown = () => { answer = (request, response) => response.writeHead(503).end(); };

const encode = (text) => new URLSearchParams({ x: text }).toString().slice(2);
const basic = (id, secret) => `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`;
const post = async (path, form, authorization = basic('caller', 'a secret: of the caller')) => {
  const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded' };
  const response = await fetch(`${issuer}${path}`, { method: 'POST', headers, body: new URLSearchParams(form) });
  const text = await response.text();
  return text ? JSON.parse(text) : {};
};
const token = async (form) => (await post('/token', { grant_type: 'client_credentials', ...form })).access_token;

const [[first], [second]] = [key('first'), key('second')];
provide(first);

const check = async (gateway) => {
  const status = async (path, bearer) => {
    const headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
    return (await fetch(`http://${gateway}${path}`, { headers })).status;
  };
  const reads = await token({ resource: 'urn:orders', scope: 'orders.read' });
  const writes = await token({ resource: 'urn:orders', scope: 'orders.write' });
  const opaque = await token({});
  const discovery = '/.well-known/openid-configuration';

  expect('nobody', await status('/bearer'), 401);
  expect('nothing was asked for without a token', asked.includes(discovery), false);
  const many = await Promise.all(Array.from({ length: 50 }, () => status('/bearer', reads)));
  expect('a token with the scope', many.every((one) => one === 200), true);
  expect('the provider was asked once', asked.filter((url) => url === discovery).length, 1);
  expect('a token without the scope', await status('/bearer', writes), 403);
  expect('a token cut short', await status('/bearer', reads.slice(0, -4)), 401);
  expect('an opaque token', await status('/bearer', opaque), 401);

  provide(first, second);
  const [header] = reads.split('.');
  expect('tokens are JSON Web Tokens', JSON.parse(Buffer.from(header, 'base64url')).kid, 'first');
  provide(second, first);
  const rotated = await token({ resource: 'urn:orders', scope: 'orders.read' });
  expect('a token of the new key', await status('/bearer', rotated), 200);
  expect('a token of the old key', await status('/bearer', reads), 200);

  expect('an opaque token, where the provider is asked', await status('/introspection', opaque), 401);
  const fresh = await token({});
  expect('an opaque token that it knows', await status('/introspection', fresh), 200);
  const questions = () => asked.filter((url) => url === '/token/introspection').length;
  const before = questions();
  expect('once more', await status('/introspection', fresh), 200);
  expect('the answer was remembered', questions(), before);
  const revoked = await token({});
  await post('/token/revocation', { token: revoked });
  expect('a revoked token', await status('/introspection', revoked), 401);

  goDown();
  expect('a token while the provider is down', await status('/bearer', reads), 200);
  expect('a new token while it is down', await status('/bearer', rotated), 200);
  expect('an unknown opaque token while it is down', await status('/introspection', 'unknown'), 500);
};

run(server.address().port, check);
