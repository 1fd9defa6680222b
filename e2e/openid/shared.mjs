// Sessions that two gateways share by Redis, of people who log in at a certified OpenID Connect provider (the package
// oidc-provider). Says "port N" on the standard output, reads the addresses of the gateways, those of their Admin APIs and the
// port of Redis from the standard input, then says what went wrong and "N failed". The folder with the package is the first
// argument.

import { connect } from 'node:net';
import { configure, runWithTwo, serve } from './pair.mjs';
import { expect, key, Provider } from './provided.mjs';
import { Visitor } from './visitor.mjs';

// Longest time for what happens by itself, in milliseconds.
const PATIENCE = 20_000;

const { port, issuer, answerWith } = await serve();
const [privateKey] = key('one');
const provide = (gateways) => {
  const provider = new Provider(issuer, {
    jwks: { keys: [privateKey] },
    clients: [{
      client_id: 'gateway', client_secret: 'a secret', grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: gateways.flatMap((gateway) => ['app', 'rolling'].map((name) => `${gateway}/${name}/page`)),
      // The second gateway alone hears of logouts.
      backchannel_logout_uri: `${gateways[1]}/app/backchannel`, backchannel_logout_session_required: true,
    }],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    features: { backchannelLogout: { enabled: true } },
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    cookies: { keys: ['not a secret'] },
  });
  provider.on('backchannel.error', (_, error) => expect('the gateway hears of logouts', `${error}`, ''));
  answerWith(provider.callback());
};

const configuration = (redis) => {
  const common = {
    issuer, client_id: ['gateway'], client_secret: ['a secret'], scopes: ['openid'],
    auth_methods: ['authorization_code', 'session'], session_secret: 'the same for both gateways', session_storage: 'redis',
    redis: { port: redis, prefix: 'shop', connect_timeout: 500, read_timeout: 500, send_timeout: 500 }, session_remember: true,
    backchannel_logout_uri_suffix: '/backchannel', logout_uri_suffix: '/logout', logout_methods: ['GET'],
  };
  const route = (name, config) => ({
    name, paths: [`/${name}`], strip_path: false, plugins: [{ name: 'openid-connect', config: { ...common, ...config } }],
  });
  // Of the second route each request from the next second on has a new id.
  const rolling = { session_idling_timeout: 3600, session_cookie_name: 'rolling', session_remember: false };
  return {
    _format_version: '3.0',
    services: [{ name: 'upstream', url: `${issuer}/upstream`, routes: [route('app', {}), route('rolling', rolling)] }],
  };
};

const eventually = async (what, attempt) => {
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) if (await attempt()) return;
  expect(what, 'it never happened', 'it happens');
};

// One command, and its answer as text: what is asked for here has no line ends in it.
const ask = (redis, ...words) => new Promise((resolve, reject) => {
  const socket = connect(redis, '127.0.0.1');
  let said = '';
  socket.on('error', reject).on('data', (piece) => { said += piece; }).on('close', () => resolve(said));
  const command = (parts) => `*${parts.length}\r\n${parts.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join('')}`;
  socket.end(command(words));
});
const lines = (text) => text.split('\r\n').filter((line) => line && !/^[*$+]/.test(line));
const sessions = async (redis) => lines(await ask(redis, 'KEYS', 'shop:session:*'));
const lifetime = async (redis, key) => Number((await ask(redis, 'TTL', key)).match(/:(-?\d+)/)[1]);
const who = (page) => (page.status === 200 ? page.json.headers['x-credential-identifier'] : page.status);

const oneSession = async ([here, there], redis) => {
  const ada = new Visitor();
  expect('ada is known', who(await ada.logIn(`${here}/app/page`, 'ada')), 'ada');
  const keys = await sessions(redis);
  expect('Redis has her session, and the one that remembers her', keys.length, 2);
  const cookie = ada.jar(here).get('session');
  expect('the cookie is nothing but an id', cookie.length < 140, true);
  const elsewhere = new Visitor();
  ada.jar(here).forEach((value, name) => elsewhere.jar(there).set(name, value));
  expect('the other gateway knows it', who(await elsewhere.ask(`${there}/app/page`)), 'ada');
  const known = (await Promise.all(keys.map(async (key) => key + await ask(redis, 'GET', key)))).join();
  expect('nobody reads in Redis whose it is', /ada|access|eyJ|gateway/.test(known), false);
  expect('nor its id', known.includes(cookie.slice(0, 40)), false);
  for (const key of keys) {
    const left = await lifetime(redis, key);
    expect('it ends by itself', left > 0 && left <= 604_801, true);
  }

  // What stands under one key is nothing under another.
  const eve = new Visitor();
  await eve.logIn(`${here}/app/page`, 'eve');
  const [hers] = (await sessions(redis)).filter((key) => !keys.includes(key));
  expect('eve has one, too', hers?.startsWith('shop:session:'), true);
  for (const key of await sessions(redis)) if (!keys.includes(key)) await ask(redis, 'COPY', keys[0], key, 'REPLACE');
  expect('a session that was put in the place of another is none', (await eve.ask(`${here}/app/page`)).status, 302);

  // As if her session had ended: she is remembered, and has another one.
  const before = await sessions(redis);
  const lifetimes = await Promise.all(keys.map((key) => lifetime(redis, key)));
  expect('a session lasts as long as nobody uses it', Math.min(...lifetimes) <= 901, true);
  await ask(redis, 'DEL', keys[lifetimes.indexOf(Math.min(...lifetimes))]);
  expect('who is remembered gets in', who(await ada.ask(`${here}/app/page`)), 'ada');
  expect('with another session', ada.jar(here).get('session') === cookie, false);
  ada.jar(here).forEach((value, name) => elsewhere.jar(there).set(name, value));

  const hersNow = (await sessions(redis)).filter((key) => !before.includes(key));
  expect('both have new ids', hersNow.length, 2);
  const copy = ada.copy();
  await elsewhere.ask(`${there}/app/logout`);
  expect('who logs out at the other gateway', (await copy.ask(`${here}/app/page`)).status, 302);
  const left = await sessions(redis);
  expect('has no session in Redis', hersNow.filter((key) => left.includes(key)), []);
};

const endedAtTheProvider = async ([here], redis) => {
  const visitor = new Visitor();
  await visitor.logIn(`${here}/app/page`, 'carol');
  expect('carol has a session', (await visitor.ask(`${here}/app/page`)).status, 200);
  const stolen = visitor.copy();
  const end = await visitor.go(`${issuer}/session/end?client_id=gateway`);
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(end.text)[1];
  await visitor.go(`${issuer}/session/end/confirm`, { form: { xsrf, logout: 'yes' } });
  expect('a logout that the other gateway was told of', (await stolen.ask(`${here}/app/page`)).status, 302);
  const marks = lines(await ask(redis, 'KEYS', 'shop:ended:*'));
  expect('there is a mark', marks.length, 1);
  expect('which ends by itself', (await lifetime(redis, marks[0])) > 0, true);
};

const newIds = async ([here, there], redis) => {
  const visitor = new Visitor();
  const before = (await sessions(redis)).length;
  await visitor.logIn(`${here}/rolling/page`, 'dora');
  const first = visitor.jar(here).get('rolling');
  const old = visitor.copy();
  await eventually('the session gets another id', async () => {
    await visitor.ask(`${here}/rolling/page`);
    return visitor.jar(here).get('rolling') !== first;
  });
  const elsewhere = new Visitor();
  elsewhere.jar(there).set('rolling', visitor.jar(here).get('rolling'));
  expect('which the other gateway knows', who(await elsewhere.ask(`${there}/rolling/page`)), 'dora');
  expect('the old one goes on for a moment', who(await old.ask(`${here}/rolling/page`)), 'dora');
  const keys = await sessions(redis);
  expect('there are several ids', keys.length - before > 1, true);
  const left = await Promise.all(keys.map((key) => lifetime(redis, key)));
  expect('the old one is about to end', left.some((seconds) => seconds >= 0 && seconds <= 10), true);
};

const withoutRedis = async ([here], redis) => {
  const visitor = new Visitor();
  await visitor.logIn(`${here}/app/page`, 'finn');
  await ask(redis, 'CLIENT', 'PAUSE', '1500');
  expect('while Redis does not answer nobody gets in', (await visitor.ask(`${here}/app/page`)).status, 500);
  const login = await new Visitor().ask(`${here}/app/page`);
  expect('who has no session is sent to the provider', login.location?.startsWith(`${issuer}/auth`), true);
  await eventually('the session is there again', async () => (await visitor.ask(`${here}/app/page`)).status === 200);
  const forged = await visitor.ask(`${here}/app/backchannel`, { form: { logout_token: 'a.b.c' } });
  expect('a forged logout token', forged.status, 400);
};

const check = async (gateways, admins, redis) => {
  provide(gateways);
  await configure(admins, configuration(redis));
  for (const story of [oneSession, endedAtTheProvider, newIds, withoutRedis]) {
    await story(gateways, redis).catch((error) => expect(story.name, error.stack, ''));
  }
};

runWithTwo(port, check);
