// Certificates, keys and signatures in place of secrets: between a certified OpenID Connect provider (the package oidc-provider)
// under TLS, the gateway, its callers, and people who log in. Says "port N" on the standard output, reads the addresses of the
// gateway, of its Admin API and of its listener under TLS from the standard input, then says what went wrong and "N failed". The
// folder with the package is the first argument.

import { execFileSync } from 'node:child_process';
import { createHash, createPrivateKey, generateKeyPairSync, randomUUID, sign, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createEcho } from 'node:http';
import { createServer, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, key, Provider, run } from './provided.mjs';
import { Visitor } from './visitor.mjs';

// Everybody here shows certificates that were made a moment ago.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
// Node warns of the line above.
process.removeAllListeners('warning');
process.on('warning', () => {});

// A certificate that vouches for itself, with its key.
const certificate = (name) => {
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'));
  const [key, cert] = ['key', 'cert'].map((file) => join(folder, file));
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-keyout', key, '-out', cert,
    '-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
  ], { stdio: 'ignore' });
  const pair = { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  rmSync(folder, { recursive: true });
  return pair;
};
const [providers, gateways, others, callers] = ['provider', 'gateway', 'other', 'caller'].map(certificate);

const [providerKey] = key('provider');
const [clientKey, clientPublicKey] = key('client');
const [partnerKey, partnerPublicKey] = key('partner');
const certificateKey = ({ cert }) => {
  const own = new X509Certificate(cert);
  return { ...own.publicKey.export({ format: 'jwk' }), x5c: [own.raw.toString('base64')] };
};

const asked = [];
let answer = (_, response) => response.writeHead(503).end();
const server = createServer({ ...providers, requestCert: true, rejectUnauthorized: false }, (received, response) => {
  asked.push(received.url.split('?')[0]);
  if (received.url === '/partner/keys') response.end(JSON.stringify({ keys: [partnerPublicKey] }));
  else answer(received, response);
});
const echo = createEcho((received, response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ url: received.url, headers: received.headers }));
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
await new Promise((resolve) => echo.listen(0, '127.0.0.1', resolve));
const { port } = server.address();
const issuer = `https://127.0.0.1:${port}`;

const shown = ({ socket }) => {
  const { raw } = socket.getPeerCertificate();
  return raw && `-----BEGIN CERTIFICATE-----\n${raw.toString('base64')}\n-----END CERTIFICATE-----`;
};

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const orders = { scope: 'orders', audience: 'orders', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };

// Gives a token of its own for one of the partner (RFC 8693).
const exchange = ({ ClientCredentials, ResourceServer }) => async (ctx) => {
  const { client, params } = ctx.oidc;
  const { iss, sub } = JSON.parse(Buffer.from(params.subject_token.split('.')[1], 'base64url'));
  if (iss !== 'https://partner.test') ctx.throw(400, 'invalid_target');
  const token = new ClientCredentials({ client, scope: params.scope, extra: { was: sub } });
  token.resourceServer = new ResourceServer('urn:orders', orders);
  ctx.body = { access_token: await token.save(), issued_token_type: params.subject_token_type, token_type: 'Bearer', expires_in: 600 };
};

const provide = (gateway) => {
  const web = (...names) => ({
    grant_types: ['authorization_code'], response_types: ['code'], redirect_uris: names.map((name) => `${gateway}/${name}/page`),
  });
  const machine = { grant_types: ['client_credentials'], response_types: [], redirect_uris: [] };
  const provider = new Provider(issuer, {
    jwks: { keys: [providerKey] },
    clientAuthMethods: ['client_secret_basic', 'client_secret_jwt', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth'],
    clients: [
      { ...web('tls'), client_id: 'by certificate', token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_subject_dn: 'CN=gateway' },
      {
        ...web('self'), client_id: 'by its own certificate', token_endpoint_auth_method: 'self_signed_tls_client_auth',
        jwks: { keys: [certificateKey(gateways)] },
      },
      {
        ...web('signed', 'pushed'), client_id: 'signing', token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [clientPublicKey] },
        request_object_signing_alg: 'ES256', require_signed_request_object: true, authorization_signed_response_alg: 'ES256',
        userinfo_signed_response_alg: 'ES256', introspection_signed_response_alg: 'ES256',
      },
      {
        ...web('shared'), client_id: 'second', client_secret: 'a secret that is long enough for HS256',
        token_endpoint_auth_method: 'client_secret_jwt', token_endpoint_auth_signing_alg: 'HS256',
      },
      { ...machine, client_id: 'caller', client_secret: 'secret' },
      { ...machine, client_id: 'exchanging', client_secret: 'secret', grant_types: [EXCHANGE] },
      {
        ...machine, client_id: 'bound', token_endpoint_auth_method: 'self_signed_tls_client_auth', jwks: { keys: [certificateKey(callers)] },
        tls_client_certificate_bound_access_tokens: true,
      },
    ],
    clientDefaults: {
      id_token_signed_response_alg: 'ES256', introspection_signed_response_alg: 'ES256', authorization_signed_response_alg: 'ES256',
    },
    claims: { openid: ['sub', 'tier'], email: ['email'] },
    conformIdTokenClaims: false,
    scopes: ['openid', 'email', 'orders'],
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com`, tier: id === 'ada' ? 'gold' : 'none' }) }),
    extraTokenClaims: () => ({ tier: ['gold'] }),
    features: {
      clientCredentials: { enabled: true }, introspection: { enabled: true, allowedPolicy: () => true }, dPoP: { enabled: true },
      jwtResponseModes: { enabled: true }, jwtUserinfo: { enabled: true }, jwtIntrospection: { enabled: true },
      requestObjects: { enabled: true }, pushedAuthorizationRequests: { enabled: true },
      mTLS: {
        enabled: true, certificateBoundAccessTokens: true, selfSignedTlsClientAuth: true, tlsClientAuth: true,
        getCertificate: ({ req }) => shown(req), certificateAuthorized: () => true,
        certificateSubjectMatches: ({ req }, _, expected) => `CN=${req.socket.getPeerCertificate().subject?.CN}` === expected,
      },
      resourceIndicators: {
        enabled: true, defaultResource: () => undefined, useGrantedResource: () => true,
        getResourceServerInfo: () => orders,
      },
    },
    cookies: { keys: ['not a secret'] },
  });
  provider.registerGrantType(EXCHANGE, exchange(provider), ['subject_token', 'subject_token_type', 'scope', 'audience']);
  const callback = provider.callback();
  answer = (received, response) => callback(received, response);
};

const CERTIFICATES = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'];

const configuration = () => {
  const common = { issuer, ssl_verify: false, tls_client_auth_ssl_verify: false, session_secret: 'of all routes', display_errors: true };
  const people = {
    ...common, auth_methods: ['authorization_code', 'session'], scopes: ['openid', 'email'],
    upstream_headers_claims: ['email'], upstream_headers_names: ['X-Email'],
  };
  const route = (name, config, ...more) => ({
    name, paths: [`/${name}`], strip_path: false, plugins: [{ name: 'openid-connect', config }, ...more],
  });
  const tls = (method, client, cert) => ({
    ...people, client_id: [client], client_auth: [method], tls_client_auth_cert_id: CERTIFICATES[cert],
  });
  const signing = {
    ...people, client_id: ['signing'], client_auth: ['private_key_jwt'], client_jwk: [clientKey], require_signed_request_object: true,
    search_user_info: true, userinfo_accept: 'application/jwt', upstream_user_info_jwt_header: 'X-Signed-User',
  };
  const machines = { ...common, auth_methods: ['bearer'] };
  return {
    _format_version: '3.0',
    certificates: [gateways, others].map((pair, number) => ({ id: CERTIFICATES[number], ...pair })),
    consumer_groups: [{ name: 'gold' }],
    services: [{
      name: 'upstream', url: `http://127.0.0.1:${echo.address().port}`,
      routes: [
        route('tls', tls('tls_client_auth', 'by certificate', 0)),
        route('self', tls('self_signed_tls_client_auth', 'by its own certificate', 0)),
        route('stranger', { ...tls('tls_client_auth', 'by certificate', 1), auth_methods: ['introspection'] }),
        route('knows', { ...tls('tls_client_auth', 'by certificate', 0), auth_methods: ['introspection'] }),
        route('signed', { ...signing, response_mode: 'jwt' }),
        route('pushed', { ...signing, response_mode: 'query.jwt', require_pushed_authorization_requests: true }),
        route('answers', {
          // A token that a client has for itself has no user who could be looked up.
          ...signing, search_user_info: false,
          auth_methods: ['introspection'], introspection_accept: 'application/token-introspection+jwt',
          upstream_introspection_jwt_header: 'X-Signed-Answer',
        }),
        route('shared', {
          ...people, client_id: ['by certificate', 'second'], client_auth: ['tls_client_auth', 'client_secret_jwt'],
          client_secret: ['', 'a secret that is long enough for HS256'], tls_client_auth_cert_id: CERTIFICATES[0], client_arg: 'tenant',
        }),
        route('bound', { ...machines, proof_of_possession_mtls: 'strict' }),
        route('proof', { ...machines, proof_of_possession_dpop: 'strict' }),
        route('nonce', { ...machines, proof_of_possession_dpop: 'strict', dpop_use_nonce: true }),
        route('either', { ...machines, proof_of_possession_dpop: 'optional' }),
        route('groups', { ...machines, consumer_groups_claim: ['tier'] }, {
          name: 'response-transformer', consumer_group: 'gold', config: { add: { headers: ['X-Tier:gold'] } },
        }),
        route('exchanged', {
          ...machines, client_id: ['exchanging'], client_secret: ['secret'], audience_required: ['orders'],
          token_exchange: {
            subject_token_issuers: [{ issuer: 'https://partner.test', verify_signature: true, jwks_uri: `${issuer}/partner/keys` }],
            request: { scopes: ['orders'] },
          },
        }),
        route('nobody', { ...machines, consumer_groups_claim: ['scope'] }),
      ],
    }],
  };
};

// Asks under TLS with this certificate, or without one.
const ask = (url, pair = {}, { method = 'GET', headers = {}, form } = {}) => new Promise((resolve, reject) => {
  const body = form && new URLSearchParams(form).toString();
  const type = body && { 'content-type': 'application/x-www-form-urlencoded', 'content-length': body.length };
  const sent = request(url, { ...pair, agent: false, rejectUnauthorized: false, method, headers: { ...headers, ...type } }, (response) => {
    let text = '';
    response.on('data', (piece) => { text += piece; });
    response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
  });
  sent.on('error', reject);
  sent.end(body);
});
const post = async (path, form, options = {}, pair = {}) => JSON.parse((await ask(`${issuer}${path}`, pair, { method: 'POST', form, ...options })).text);
const basic = { authorization: `Basic ${Buffer.from('caller:secret').toString('base64')}` };
const wish = { grant_type: 'client_credentials', resource: 'urn:orders', scope: 'orders' };

// The gateway signs in with a certificate.
const signingIn = async (gateway) => {
  for (const name of ['tls', 'self']) {
    const page = await new Visitor().logIn(`${gateway}/${name}/page`, 'ada');
    expect(`a login, where the gateway shows a certificate (${name})`, [page.status, page.status === 200 && page.json.headers['x-email']], [200, 'ada@example.com']);
  }
  const { access_token: opaque } = await post('/token', { grant_type: 'client_credentials' }, { headers: basic });
  const status = async (name) => (await fetch(`${gateway}/${name}`, { headers: { authorization: `Bearer ${opaque}` } })).status;
  expect('a question by who shows the certificate', await status('knows'), 200);
  expect('a question by who shows another one', await status('stranger'), 500);
};

// Requests for logins and their answers are signed, and so is what is said of users and tokens.
const signatures = async (gateway) => {
  for (const name of ['signed', 'pushed']) {
    const visitor = new Visitor();
    const steps = [];
    const page = await visitor.logIn(`${gateway}/${name}/page?a=1`, 'ada', (url) => { steps.push(url); return false; });
    const begun = new URL(steps[0]).searchParams;
    expect(`the browser carries nothing to be changed (${name})`, [begun.has('state'), begun.has('redirect_uri')], [false, false]);
    const back = steps.map((url) => new URL(url)).find((url) => url.pathname === `/${name}/page`);
    expect(`it brings back a signed answer (${name})`, [...back.searchParams.keys()], ['response']);
    expect(`the login succeeds (${name})`, page.status, 200);
    if (page.status !== 200) process.stdout.write(`${page.text}\n`);
    else {
      expect('the upstream does not see the answer', page.json.url, `/${name}/page`);
      const [, said] = (page.json.headers['x-signed-user'] ?? '.').split('.');
      expect('what the provider says of users comes as it was signed', JSON.parse(Buffer.from(said, 'base64url')).email, 'ada@example.com');
    }
  }
  expect('one of the requests was pushed', asked.filter((path) => path === '/request').length, 1);
  const mallory = new Visitor();
  const comesBack = (url) => url.startsWith(`${gateway}/signed/page?`);
  const { stoppedAt } = await mallory.logIn(`${gateway}/signed/page`, 'mallory', comesBack);
  const answered = new URL(stoppedAt).searchParams.get('response');
  const { state, code, iss } = JSON.parse(Buffer.from(answered.split('.')[1], 'base64url'));
  const bare = `${gateway}/signed/page?${new URLSearchParams({ state, code, iss })}`;
  expect('the same answer without a signature', (await mallory.copy().ask(bare)).status, 401);
  const changed = answered.slice(0, -6) + (answered.at(-6) === 'A' ? 'B' : 'A') + answered.slice(-5);
  expect('with another signature', (await mallory.copy().ask(`${gateway}/signed/page?response=${changed}`)).status, 401);
  expect('in another browser', (await new Visitor().ask(stoppedAt)).status, 401);
  expect('as it is', (await mallory.ask(stoppedAt)).status, 200);

  const { access_token: opaque } = await post('/token', { grant_type: 'client_credentials' }, { headers: basic });
  const known = await fetch(`${gateway}/answers`, { headers: { authorization: `Bearer ${opaque}` } });
  const told = known.status === 200 ? (await known.json()).headers['x-signed-answer'] : '.e30.';
  const said = JSON.parse(Buffer.from(told.split('.')[1], 'base64url'));
  expect('a signed answer about a token', [known.status, said.token_introspection?.active, said.aud], [200, true, 'signing']);
};

const severalClients = async (gateway) => {
  const visitor = new Visitor();
  const steps = [];
  const page = await visitor.logIn(`${gateway}/shared/page?tenant=second`, 'ada', (url) => { steps.push(url); return false; });
  expect('callers choose a client', new URL(steps[0]).searchParams.get('client_id'), 'second');
  expect('and log in there', page.status, 200);
  expect('they stay with it', (await visitor.ask(`${gateway}/shared/other`)).status, 200);
};

const certificates = async (secure) => {
  const { access_token: bound } = await post('/token', { ...wish, client_id: 'bound' }, {}, callers);
  const { access_token: free } = await post('/token', wish, { headers: basic });
  const status = async (pair, token) => (await ask(`https://${secure}/bound`, pair, { headers: { authorization: `Bearer ${token}` } })).status;
  expect('a bound token with its certificate', await status(callers, bound), 200);
  expect('once more', await status(callers, bound), 200);
  expect('with another certificate', await status(others, bound), 401);
  expect('without one', await status({}, bound), 401);
  expect('a token that is not bound', await status(callers, free), 401);
};

const keys = async (gateway) => {
  const holder = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const thief = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const prove = (pair, htm, htu, token, more = {}) => {
    const head = base64({ typ: 'dpop+jwt', alg: 'ES256', jwk: pair.publicKey.export({ format: 'jwk' }) });
    const ath = token && createHash('sha256').update(token).digest('base64url');
    const text = `${head}.${base64({ jti: randomUUID(), htm, htu, iat: Math.floor(Date.now() / 1000), ...(ath && { ath }), ...more })}`;
    return `${text}.${sign('sha256', Buffer.from(text), { key: pair.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  };
  const given = await post('/token', wish, { headers: { ...basic, dpop: prove(holder, 'POST', `${issuer}/token`) } });
  expect('the provider binds the token to the key', given.token_type, 'DPoP');
  const token = given.access_token;
  const bring = (name, proof, scheme = 'DPoP', brought = token) => fetch(`${gateway}/${name}`, { headers: { authorization: `${scheme} ${brought}`, ...(proof && { dpop: proof }) } });
  const proof = (more) => prove(holder, 'GET', `${gateway}/proof`, token, more);
  const first = proof();
  expect('with a proof', (await bring('proof', first)).status, 200);
  const replayed = await bring('proof', first);
  expect('with the same proof again', [replayed.status, /error="invalid_dpop_proof"/.test(replayed.headers.get('www-authenticate'))], [401, true]);
  expect('with another', (await bring('proof', proof())).status, 200);
  expect('without one', (await bring('proof')).status, 401);
  expect('as a bearer token', (await bring('proof', proof(), 'Bearer')).status, 401);
  expect('with a proof for another address', (await bring('proof', prove(holder, 'GET', `${gateway}/other`, token))).status, 401);
  expect('with a proof of a thief', (await bring('proof', prove(thief, 'GET', `${gateway}/proof`, token))).status, 401);
  expect('with an old proof', (await bring('proof', proof({ iat: Math.floor(Date.now() / 1000) - 400 }))).status, 401);
  const { access_token: free } = await post('/token', wish, { headers: basic });
  expect('a token of no key', (await bring('proof', undefined, 'Bearer', free)).status, 401);
  expect('where either may come', (await bring('either', undefined, 'Bearer', free)).status, 200);
  expect('but no bound token without a proof', (await bring('either', undefined, 'Bearer')).status, 401);
  const at = (more) => prove(holder, 'GET', `${gateway}/nonce`, token, more);
  const challenged = await bring('nonce', at());
  expect('a proof without the nonce', [challenged.status, /error="use_dpop_nonce"/.test(challenged.headers.get('www-authenticate'))], [401, true]);
  expect('with it', (await bring('nonce', at({ nonce: challenged.headers.get('dpop-nonce') }))).status, 200);
};

const groups = async (gateway) => {
  const { access_token: token } = await post('/token', wish, { headers: basic });
  const headers = { authorization: `Bearer ${token}` };
  const answered = await fetch(`${gateway}/groups`, { headers });
  expect('plugins of a consumer group apply to who is in it by a claim', [answered.status, answered.headers.get('x-tier')], [200, 'gold']);
  expect('who is in none is refused', (await fetch(`${gateway}/nobody`, { headers })).status, 403);
};

const exchanging = async (gateway) => {
  const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const make = (more = {}, kid = 'partner', pair = partnerKey) => {
    const text = `${base64({ alg: 'ES256', kid })}.${base64({ iss: 'https://partner.test', sub: 'ada', aud: 'partner', iat: now, exp: now + 60, ...more })}`;
    const signature = sign('sha256', Buffer.from(text), { key: createPrivateKey({ key: pair, format: 'jwk' }), dsaEncoding: 'ieee-p1363' });
    return `${text}.${signature.toString('base64url')}`;
  };
  const bring = (token) => fetch(`${gateway}/exchanged`, { headers: { authorization: `Bearer ${token}` } });
  const own = make();
  const passed = await bring(own);
  const sent = passed.status === 200 ? (await passed.json()).headers.authorization.split(' ')[1] : '.e30.';
  expect('a partner\'s token is exchanged', [passed.status, JSON.parse(Buffer.from(sent.split('.')[1], 'base64url')).iss], [200, issuer]);
  const before = asked.filter((path) => path === '/token').length;
  expect('once', [(await bring(own)).status, asked.filter((path) => path === '/token').length], [200, before]);
  expect('a forged one is not', (await bring(make({}, 'partner', clientKey))).status, 401);
  expect('nor an old one', (await bring(make({ exp: now - 1 }))).status, 401);
  expect('and the provider did not see them', asked.filter((path) => path === '/token').length, before);
};

const check = async (gateway, admin, secure) => {
  provide(gateway);
  const body = JSON.stringify(configuration());
  const response = await fetch(`http://${admin}/config`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  if (response.status !== 201) throw new Error(`the configuration is refused: ${await response.text()}`);
  const stories = [signingIn, signatures, severalClients, () => certificates(secure), keys, groups, exchanging];
  for (const story of stories) await story(gateway).catch((error) => expect(story.name, error.stack, ''));
};

run(port, (proxy, admin, secure) => check(`http://localhost:${proxy.split(':')[1]}`, admin, secure));
