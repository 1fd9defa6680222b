// Two gateways with the same sessions, wherever they are, before a certified OpenID Connect provider (the package
// oidc-provider) that gives out a new refresh token each time, and takes a second use of an old one for theft. Says "port N" on
// the standard output, reads the addresses of the gateways, those of their Admin APIs and the places for sessions from the
// standard input, then says what went wrong and "N failed". The folder with the package is the first argument.

import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { configure, runWithTwo, serve } from './pair.mjs';
import { expect as expectThat, key, Provider } from './provided.mjs';
import { Visitor } from './visitor.mjs';

const { port, issuer, answerWith } = await serve();
const asked = { refreshed: 0, revoked: 0 };
const [privateKey] = key('one');
const client = (id, gateways) => ({
  client_id: id, client_secret: 'a secret', grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
  redirect_uris: gateways.flatMap((gateway) => ['app', 'rotating', 'several'].map((name) => `${gateway}/${name}/page`)),
});
const provide = (gateways) => {
  const provider = new Provider(issuer, {
    jwks: { keys: [privateKey] },
    clients: [client('gateway', gateways), client('other', gateways)],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    issueRefreshToken: async () => true,
    rotateRefreshToken: true,
    ttl: { AccessToken: 600 },
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    cookies: { keys: ['not a secret'] },
  });
  provider.on('grant.success', ({ oidc }) => { if (oidc.params.grant_type === 'refresh_token') asked.refreshed += 1; });
  provider.on('grant.revoked', () => { asked.revoked += 1; });
  answerWith(provider.callback());
};

const configuration = (place) => {
  const common = {
    issuer, client_id: ['gateway'], client_secret: ['a secret'], scopes: ['openid'], display_errors: true,
    auth_methods: ['authorization_code', 'session'], session_secret: 'the same for both gateways',
    logout_uri_suffix: '/logout', logout_methods: ['GET'], ...place.fields,
    upstream_headers_claims: ['aud'], upstream_headers_names: ['x-client'],
  };
  const route = (name, config) => ({
    name, paths: [`/${name}`], strip_path: false,
    plugins: [{ name: 'openid-connect', config: { ...common, session_cookie_name: name, ...config } }],
  });
  // The tokens of the second route are about to end for as long as they are good.
  const routes = [
    route('app', {}),
    route('rotating', { leeway: 3600 }),
    route('several', { client_id: ['gateway', 'other'], client_secret: ['a secret', 'a secret'] }),
  ];
  return { _format_version: '3.0', services: [{ name: 'upstream', url: `${issuer}/upstream`, routes }] };
};

let where = '';
const expect = (what, found, wanted) => expectThat(`${where}: ${what}`, found, wanted);
const who = (page) => (page.status === 200 ? page.json.headers['x-credential-identifier'] : page.status);
const moved = (visitor, from, to) => {
  const other = new Visitor();
  visitor.jar(from).forEach((value, name) => other.jar(to).set(name, value));
  return other;
};

// The value under a key, as text.
const read = (place, key) => new Promise((resolve, reject) => {
  const socket = place.socket ? connect(place.socket) : connect(place.port, '127.0.0.1');
  let said = '';
  socket.on('error', reject).on('data', (piece) => { said += piece; }).on('close', () => resolve(said.split('\r\n')[1] ?? ''));
  const redis = `*2\r\n$3\r\nGET\r\n$${Buffer.byteLength(key)}\r\n${key}\r\n`;
  socket.end(place.kind === 'redis' ? redis : `get ${key}\r\nquit\r\n`);
});
const listed = async (place, subject) => {
  const name = createHash('sha256').update(`${issuer} gateway default\n${subject}`).digest('base64url');
  const text = await read(place, `shop:subject:${name}`);
  return text ? JSON.parse(text).length : 0;
};

const oneSession = async ([here, there], place) => {
  const ada = new Visitor();
  expect('ada is known', who(await ada.logIn(`${here}/app/page`, 'ada')), 'ada');
  expect('the cookie is nothing but an id', ada.jar(here).get('app').length < 140, true);
  const elsewhere = moved(ada, here, there);
  expect('the other gateway knows her', who(await elsewhere.ask(`${there}/app/page`)), 'ada');
  await new Visitor().logIn(`${there}/app/page`, 'ada');
  expect('both sessions are in her list', await listed(place, 'ada'), 2);
  const copy = ada.copy();
  await elsewhere.ask(`${there}/app/logout`);
  expect('who logs out at the other gateway', (await copy.ask(`${here}/app/page`)).status, 302);
  expect('has one session less in the list', await listed(place, 'ada'), 1);
};

// Many requests at both gateways, all with the same session, whose tokens are to be renewed.
const rotation = async ([here, there]) => {
  const before = { ...asked };
  let visitor = new Visitor();
  expect('bob is known', who(await visitor.logIn(`${here}/rotating/page`, 'bob')), 'bob');
  for (const round of [1, 2, 3]) {
    const copies = [here, there, here, there, here, there].map((gateway) => [gateway, moved(visitor, here, gateway)]);
    const pages = await Promise.all(copies.map(([gateway, copy]) => copy.ask(`${gateway}/rotating/page`)));
    expect(`all pass (${round})`, pages.map(who), pages.map(() => 'bob'));
    expect(`the refresh token was used once (${round})`, asked.refreshed - before.refreshed, round);
    const [gateway, last] = copies[round % 2];
    visitor = moved(last, gateway, here);
  }
  expect('nothing was taken for theft', asked.revoked, before.revoked);
};

const usedOnce = async ([here, there]) => {
  const visitor = new Visitor();
  const page = `${here}/app/page`;
  const { stoppedAt } = await visitor.logIn(page, 'carol', (url) => url.startsWith(`${page}?`));
  const elsewhere = moved(visitor, here, there);
  expect('a login ends at the other gateway', who(await elsewhere.ask(stoppedAt.replace(here, there))), 'carol');
  const again = await visitor.ask(stoppedAt);
  expect('and not once more', [again.status, again.json.message], [401, 'Unauthorized (the login has been used already)']);
};

const severalClients = async ([here, there]) => {
  const visitor = new Visitor();
  const first = await visitor.logIn(`${here}/several/page?client_id=other`, 'dora');
  expect('the client that was named', first.json?.headers['x-client'], 'other');
  const elsewhere = moved(visitor, here, there);
  const second = await elsewhere.ask(`${there}/several/page`);
  expect('a session stays with its client', [who(second), second.json?.headers['x-client']], ['dora', 'other']);
  const named = await elsewhere.ask(`${there}/several/page?client_id=gateway`);
  expect('and is none of another', named.status, 302);
};

const check = async (gateways, admins, places) => {
  provide(gateways);
  for (const place of places) {
    where = place.name;
    await configure(admins, configuration(place));
    for (const story of [oneSession, rotation, usedOnce, severalClients]) {
      await story(gateways, place).catch((error) => expect(story.name, error.stack, ''));
    }
  }
};

runWithTwo(port, check);
