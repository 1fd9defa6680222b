// Ways to a certified OpenID Connect provider (the package oidc-provider) under TLS, through a proxy that asks for credentials, and
// what callers bring beside their tokens: ID tokens, and certificates that a proxy in front passes on. Says "port N" on the
// standard output, reads the addresses of the gateway and of its Admin API from the standard input, then says what went wrong and
// "N failed". The folder with the package is the first argument.

import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createPlain } from 'node:http';
import { createServer, request } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, key, Provider, run } from './provided.mjs';
import { Visitor } from './visitor.mjs';

// Everybody here shows certificates that were made a moment ago.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
// Node warns of the line above.
process.removeAllListeners('warning');
process.on('warning', () => {});

const folder = mkdtempSync(join(tmpdir(), 'certificates-'));
const openssl = (...words) => execFileSync('openssl', words, { cwd: folder, stdio: 'ignore' });
const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
openssl('req', '-x509', ...CURVE, '-keyout', 'root.key', '-out', 'root', '-subj', '/CN=root');
// Certificates that the root vouches for, with their keys.
const certificate = (name) => {
  openssl('req', '-x509', ...CURVE, '-keyout', `${name}.key`, '-out', name, '-subj', `/CN=${name}`, '-CA', 'root', '-CAkey', 'root.key', '-addext',
    'basicConstraints=critical,CA:FALSE');
  return { key: readFileSync(join(folder, `${name}.key`), 'utf8'), cert: readFileSync(join(folder, name), 'utf8') };
};
const [providers, callers, others] = ['provider', 'caller', 'other'].map(certificate);
const root = readFileSync(join(folder, 'root'), 'utf8');
rmSync(folder, { recursive: true });
const ROOT = '7c1f8a3e-52b6-4d0f-9a64-0f5be6d2c001';

const [providerKey, providerPublicKey] = key('provider');

const listening = async (server) => {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server.address().port;
};

// What the provider is asked, and whether that came through the proxy.
const asked = [];
const tunnels = new Set();
let answer = (_, response) => response.writeHead(503).end();
const port = await listening(createServer({ ...providers, requestCert: true, rejectUnauthorized: false }, (received, response) => {
  asked.push({ path: received.url.split('?')[0], through: tunnels.has(received.socket.remotePort), headers: received.headers });
  answer(received, response);
}));
const issuer = `https://127.0.0.1:${port}`;

// A proxy that opens tunnels to the provider for those who sign in.
const CREDENTIALS = `Basic ${Buffer.from('gateway:secret').toString('base64')}`;
const proxy = createPlain((_, response) => response.writeHead(400).end());
const turnedAway = [];
proxy.on('connect', (received, client, head) => {
  client.on('error', () => {});
  if (received.headers['proxy-authorization'] !== CREDENTIALS || received.url !== `127.0.0.1:${port}`) {
    turnedAway.push(received.url);
    return client.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n');
  }
  const tunnel = connect(port, '127.0.0.1', () => {
    tunnels.add(tunnel.localPort);
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    tunnel.write(head);
    tunnel.pipe(client).pipe(tunnel);
  });
  tunnel.on('error', () => client.destroy());
  return tunnel;
});
const proxyPort = await listening(proxy);
const echoPort = await listening(createPlain((received, response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ url: received.url, headers: received.headers }));
}));

const provide = (gateway) => {
  const own = new X509Certificate(callers.cert);
  const boundKey = { ...own.publicKey.export({ format: 'jwk' }), x5c: [own.raw.toString('base64')] };
  const shown = ({ socket }) => {
    const { raw } = socket.getPeerCertificate();
    return raw && `-----BEGIN CERTIFICATE-----\n${raw.toString('base64')}\n-----END CERTIFICATE-----`;
  };
  const orders = { scope: 'orders', audience: 'orders', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };
  const provider = new Provider(issuer, {
    jwks: { keys: [providerKey] },
    clientAuthMethods: ['client_secret_basic', 'self_signed_tls_client_auth'],
    clients: [
      {
        client_id: 'gateway', client_secret: 'secret', grant_types: ['authorization_code'], response_types: ['code'],
        redirect_uris: ['login', 'fits', 'misfits'].map((name) => `${gateway}/${name}/page`),
      },
      {
        client_id: 'bound', grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
        token_endpoint_auth_method: 'self_signed_tls_client_auth', jwks: { keys: [boundKey] }, tls_client_certificate_bound_access_tokens: true,
      },
    ],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    claims: { openid: ['sub'], email: ['email'] },
    conformIdTokenClaims: false,
    scopes: ['openid', 'email', 'orders'],
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com` }) }),
    features: {
      clientCredentials: { enabled: true },
      mTLS: {
        enabled: true, certificateBoundAccessTokens: true, selfSignedTlsClientAuth: true,
        getCertificate: ({ req }) => shown(req), certificateAuthorized: () => true, certificateSubjectMatches: () => false,
      },
      resourceIndicators: { enabled: true, defaultResource: () => undefined, useGrantedResource: () => true, getResourceServerInfo: () => orders },
    },
    cookies: { keys: ['not a secret'] },
  });
  answer = provider.callback();
};

const configuration = () => {
  const common = { issuer, ssl_verify: false, display_errors: true };
  const client = { ...common, client_id: ['gateway'], client_secret: ['secret'] };
  const through = { https_proxy: `http://127.0.0.1:${proxyPort}`, https_proxy_authorization: CREDENTIALS };
  const people = { auth_methods: ['authorization_code', 'session'], session_secret: 'the same for all', verify_parameters: true };
  const bound = (more) => ({
    ...common, auth_methods: ['bearer'], proof_of_possession_mtls: 'strict',
    proof_of_possession_mtls_from_header: { ca_certificates: [ROOT], certificate_header_name: 'X-Client-Cert', ...more },
  });
  const route = (name, config) => ({ name, paths: [`/${name}`], strip_path: false, plugins: [{ name: 'openid-connect', config }] });
  return {
    _format_version: '3.0',
    ca_certificates: [{ id: ROOT, cert: root }],
    services: [{
      name: 'upstream', url: `http://127.0.0.1:${echoPort}`,
      routes: [
        route('login', {
          ...client, ...people, ...through, scopes: ['openid', 'email', 'orders'], login_action: 'response', login_tokens: ['id_token', 'access_token'],
          authorization_query_args_names: ['resource'], authorization_query_args_values: ['urn:orders'],
        }),
        route('beside', {
          ...client, ...through, auth_methods: ['bearer'], id_token_param_name: 'X-Id-Token', upstream_id_token_jwk_header: 'X-Id-Key',
          upstream_access_token_jwk_header: 'X-Key', upstream_headers_claims: ['email'], upstream_headers_names: ['X-Email'],
        }),
        route('turned-away', { ...common, ...through, https_proxy_authorization: 'Basic bm9ib2R5', auth_methods: ['bearer'] }),
        route('around', { ...common, ...through, no_proxy: 'localhost, 127.0.0.1', auth_methods: ['bearer'] }),
        route('fits', { ...client, ...people, scopes: ['openid', 'email'], downstream_session_id_header: 'X-Session' }),
        route('misfits', { ...client, ...people, scopes: ['openid', 'payments'] }),
        route('passed-on', bound({ secure_source: false })),
        route('distrusted', bound({})),
      ],
    }],
  };
};

const status = async (url, token, headers = {}) => (await fetch(url, { headers: { authorization: `Bearer ${token}`, ...headers } })).status;

// Everything that the gateway asks takes the way through the proxy, or around it.
const ways = async (gateway) => {
  const login = async (name) => (await new Visitor().logIn(`${gateway}/login/page`, name)).json;
  const [ada, bob] = [await login('ada'), await login('bob')];
  const ofGateway = () => asked.filter(({ headers }) => (headers['user-agent'] ?? '').startsWith('biplane/'));
  const paths = [...new Set(ofGateway().map(({ path }) => path))].sort();
  expect('the gateway asks the provider', paths, ['/.well-known/openid-configuration', '/jwks', '/token']);
  expect('through the proxy alone', ofGateway().every(({ through }) => through), true);
  expect('which keeps its credentials to itself', ofGateway().some(({ headers }) => headers['proxy-authorization']), false);
  expect('where the proxy wants others', [await status(`${gateway}/turned-away`, ada.access_token), turnedAway.length > 0], [500, true]);
  expect('where there is none for the provider', await status(`${gateway}/around`, ada.access_token), 200);
  expect('it is asked directly', ofGateway().some(({ through }) => !through), true);
  await besides(gateway, ada, bob);
};

const besides = async (gateway, ada, bob) => {
  const url = `${gateway}/beside`;
  const bring = (id) => fetch(url, { headers: { authorization: `Bearer ${ada.access_token}`, 'x-id-token': id } });
  for (const time of ['first', 'second']) {
    const answered = await bring(ada.id_token);
    const told = answered.status === 200 ? (await answered.json()).headers : {};
    expect(`an ID token beside its access token (${time})`, [answered.status, told['x-email'], told['x-id-token']], [200, 'ada@example.com', undefined]);
    const keys = ['x-key', 'x-id-key'].map((name) => JSON.parse(Buffer.from(told[name] ?? 'e30=', 'base64')));
    const { kid, x, y } = providerPublicKey;
    expect('the upstream learns the keys', keys.map((one) => [one.kid, one.x, one.y, 'd' in one]), [[kid, x, y, false], [kid, x, y, false]]);
  }
  expect('an ID token of somebody else', (await bring(bob.id_token)).status, 401);
  expect('none', await status(url, ada.access_token), 200);
};

const parameters = async (gateway) => {
  const page = await new Visitor().logIn(`${gateway}/fits/page`, 'ada');
  expect('a provider that has what is asked of it', [page.status, /^[\w-]{43}$/.test(page.headers.get('x-session') ?? '')], [200, true]);
  expect('one that has not', (await new Visitor().ask(`${gateway}/misfits/page`)).status, 500);
};

const post = (form, pair) => new Promise((resolve, reject) => {
  const body = new URLSearchParams(form).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': body.length };
  const sent = request(`${issuer}/token`, { ...pair, agent: false, method: 'POST', headers }, (response) => {
    let text = '';
    response.on('data', (piece) => { text += piece; });
    response.on('end', () => resolve(JSON.parse(text)));
  });
  sent.on('error', reject);
  sent.end(body);
});

const certificates = async (gateway) => {
  const { access_token: token } = await post({ grant_type: 'client_credentials', resource: 'urn:orders', scope: 'orders', client_id: 'bound' }, callers);
  const shown = ({ cert }) => ({ 'x-client-cert': encodeURIComponent(cert) });
  for (const time of ['first', 'second']) {
    expect(`a bound token with its certificate (${time})`, await status(`${gateway}/passed-on`, token, shown(callers)), 200);
    expect(`with another one (${time})`, await status(`${gateway}/passed-on`, token, shown(others)), 401);
  }
  expect('without one', await status(`${gateway}/passed-on`, token), 401);
  expect('from somebody who is not trusted', await status(`${gateway}/distrusted`, token, shown(callers)), 401);
};

const check = async (gateway, admin) => {
  provide(gateway);
  const body = JSON.stringify(configuration());
  const response = await fetch(`http://${admin}/config`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  if (response.status !== 201) throw new Error(`the configuration is refused: ${await response.text()}`);
  for (const story of [ways, parameters, certificates]) await story(gateway).catch((error) => expect(story.name, error.stack, ''));
};

run(port, (address, admin) => check(`http://localhost:${address.split(':')[1]}`, admin));
