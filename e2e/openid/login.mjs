// People log in at a certified OpenID Connect provider (the package oidc-provider) through the gateway: one with Chromium, others
// with less of a browser, some of them with bad intentions. Says "port N" on the standard output, reads the addresses of the
// gateway and of its Admin API from the standard input, then says what went wrong and "N failed". The folder with the package
// is the first argument.

import { createServer } from 'node:http';
import { Chromium } from './browser.mjs';
import { expect, key, Provider, run } from './provided.mjs';
import { Visitor } from './visitor.mjs';

// Longest time for everything, in milliseconds.
const PATIENCE = 180_000;

const [providerKey] = key('provider');
const [clientKey, clientPublicKey] = key('client');

const asked = [];
let answer = (request, response) => response.writeHead(503).end();
const echo = (request, response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ method: request.method, url: request.url, headers: request.headers }));
};
// Claims that the provider only points to.
const directory = (request, response) => {
  const isKnown = request.headers.authorization === 'Bearer key-of-the-directory';
  response.writeHead(isKnown ? 200 : 401, { 'content-type': 'application/json' });
  response.end(JSON.stringify(isKnown ? { groups: ['editors'] } : {}));
};
const server = createServer((request, response) => {
  asked.push(request.url.split('?')[0]);
  if (request.url.startsWith('/upstream')) echo(request, response);
  else if (request.url === '/directory') directory(request, response);
  else answer(request, response);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;

// The gateway by the name of the provider: one site to browsers, as ports do not count.
const besideProvider = (gateway) => gateway.replace('localhost', '127.0.0.1');

const provide = (gateway) => {
  const web = {
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
    redirect_uris: [
      ...['app', 'plain', 'root', 'fresh', 'tokens', 'said', 'post', 'par', 'strict', 'one', 'two', 'directory'].map((name) => `${gateway}/${name}/page`),
      `${besideProvider(gateway)}/strict/page`,
    ],
    post_logout_redirect_uris: [`${gateway}/public`],
  };
  const provider = new Provider(issuer, {
    jwks: { keys: [providerKey] },
    clients: [
      {
        ...web, client_id: 'gateway', client_secret: 'a secret: of the gateway & more',
        backchannel_logout_uri: `${gateway}/app/backchannel`, backchannel_logout_session_required: true,
      },
      {
        ...web, client_id: 'with a key', token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [clientPublicKey] },
      },
    ],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    claims: { openid: ['sub'], email: ['email'], groups: ['groups'] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id, email: `${id}@example.com`, _claim_names: { groups: 'directory' },
        _claim_sources: { directory: { endpoint: `${issuer}/directory`, access_token: id === 'dora' ? 'key-of-the-directory' : 'another' } },
      }),
    }),
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    pkce: { required: () => false },
    features: { backchannelLogout: { enabled: true }, revocation: { enabled: true }, introspection: { enabled: true } },
    // By itself it calls nobody on the machine that it runs on, and the gateway is there.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    cookies: { keys: ['not a secret'] },
  });
  provider.on('backchannel.error', (_, error) => expect('the gateway hears of logouts', `${error}`, ''));
  answer = provider.callback();
};

const configuration = (gateway, more = []) => {
  const common = {
    issuer, client_id: ['gateway'], client_secret: ['a secret: of the gateway & more'], scopes: ['openid', 'email'],
    auth_methods: ['authorization_code', 'session'], session_secret: 'the same for all routes and reloads',
    upstream_headers_claims: ['email'], upstream_headers_names: ['X-Email'], display_errors: true,
    backchannel_logout_uri_suffix: '/backchannel', session_response_headers: ['id'],
  };
  const leaving = {
    logout_uri_suffix: '/logout', logout_methods: ['GET', 'POST'], logout_redirect_uri: [`${gateway}/public`],
    logout_revoke: true,
  };
  const route = (name, config) => ({
    name, paths: [`/${name}`], strip_path: false, plugins: [{ name: 'openid-connect', config: { ...common, ...config } }],
  });
  return {
    _format_version: '3.0',
    services: [{
      name: 'upstream', url: `${issuer}/upstream`,
      routes: [
        route('app', leaving),
        // Nothing but the nonce ties a code to a login here.
        route('plain', { require_proof_key_for_code_exchange: false }),
        {
          ...route('root', { redirect_uri: [`${gateway}/root/page`], login_action: 'redirect', preserve_query_args: true }),
          paths: ['/root', '~/+evil'],
        },
        // Tokens are always about to end.
        route('fresh', { leeway: 80_000 }),
        route('tokens', { login_action: 'response', login_tokens: ['id_token', 'access_token'] }),
        route('said', { login_action: 'response', login_tokens: ['introspection'] }),
        // The provider asks for the name each time.
        route('strict', {
          authorization_cookie_same_site: 'Strict', authorization_query_args_names: ['prompt'],
          authorization_query_args_values: ['login'],
        }),
        route('directory', {
          scopes: ['openid', 'groups'], resolve_distributed_claims: true, groups_required: ['editors'],
          upstream_headers_claims: ['groups'], upstream_headers_names: ['X-Groups'],
        }),
        ...['one', 'two'].map((name) => route(name, { session_enforce_same_subject: true, session_audience: name })),
        route('post', { response_mode: 'form_post' }),
        route('par', {
          client_id: ['with a key'], client_secret: null, client_auth: ['private_key_jwt'], client_jwk: [clientKey],
          require_pushed_authorization_requests: true, login_action: 'redirect', preserve_query_args: true,
        }),
        { name: 'public', paths: ['/public'], plugins: [{ name: 'request-termination', config: { status_code: 200, body: 'good bye', content_type: 'text/plain' } }] },
        ...more.map((name) => route(name, {})),
      ],
    }],
  };
};

const count = (path) => asked.filter((one) => one === path).length;

// Groups are where the provider only points to.
const pointing = async (gateway) => {
  const visitor = new Visitor();
  const page = await visitor.logIn(`${gateway}/directory/page`, 'dora');
  expect('what the provider points to is found', page.json.headers['x-groups'], 'editors');
  expect('once', [(await visitor.ask(`${gateway}/directory/page`)).json.headers['x-groups'], count('/directory')], ['editors', 1]);
  const stranger = await new Visitor().logIn(`${gateway}/directory/page`, 'eve');
  expect('who is not found out is not let in', [stranger.status, stranger.json.message],
    [401, 'Unauthorized (claims that their server does not give)']);
};

// Two audiences with one cookie, and two people before one browser.
const sharing = async (gateway) => {
  const visitor = new Visitor();
  const who = ({ json }) => json.headers['x-credential-identifier'];
  expect('ada is known to one audience', who(await visitor.logIn(`${gateway}/one/page`, 'ada')), 'ada');
  visitor.jar(issuer).clear();
  expect('bob logs in for another', who(await visitor.logIn(`${gateway}/two/page`, 'bob')), 'bob');
  expect('he is known there', who(await visitor.ask(`${gateway}/two/page`)), 'bob');
  expect('and ada is not any more', (await visitor.ask(`${gateway}/one/page`)).status, 302);
};

// What a person with a real browser sees whose login is in a cookie for requests of the same site.
const strict = async (browser, gateway) => {
  const logIn = async (place) => {
    await browser.open(`${place}/strict/page`);
    await browser.type('input[name=login]', 'grace');
    await browser.type('input[name=password]', 'any');
    await browser.click('form:has([value=login]) button[type=submit]');
    if (/interaction/.test(await browser.url())) await browser.click('form:has([value=consent]) button[type=submit]');
    return JSON.parse(await browser.text());
  };
  expect('from another site nobody comes back', (await logIn(gateway)).message,
    'Unauthorized (this browser has no such login under way: begin again)');
  const page = await logIn(besideProvider(gateway));
  expect('from the same site a login ends', page.headers?.['x-credential-identifier'], 'grace');
};

// What a person with a real browser sees.
const person = async (browser, gateway, reload) => {
  const seen = async () => JSON.parse(await browser.text());
  await browser.open(`${gateway}/app/page?first=1`);
  expect('who is not known comes to the provider', new URL(await browser.url()).origin, issuer);
  await browser.type('input[name=login]', 'ada');
  await browser.type('input[name=password]', 'any');
  await browser.click('form:has([value=login]) button[type=submit]');
  await browser.click('form:has([value=consent]) button[type=submit]');
  const page = await seen();
  expect('the upstream is asked for the page', page.url, '/upstream/app/page');
  expect('it learns who has logged in', page.headers['x-credential-identifier'], 'ada');
  expect('and what the provider says of her', page.headers['x-email'], 'ada@example.com');
  expect('it gets the access token', /^Bearer ./.test(page.headers.authorization ?? ''), true);
  expect('but not the session', page.headers.cookie, undefined);
  const names = (await browser.cookies()).map(({ name, httpOnly, sameSite }) => [name, httpOnly, sameSite]);
  expect('the browser has a session and no login under way', names, [['session', true, 'Lax']]);
  expect('scripts see nothing of it', await browser.cookiesOfScripts(), '');

  const before = count('/auth');
  await browser.open(`${gateway}/app/other`);
  expect('the session is enough for another page', (await seen()).headers['x-credential-identifier'], 'ada');
  await reload(['later']);
  await browser.open(`${gateway}/app/other?a=1`);
  expect('and after a reload', (await seen()).headers['x-credential-identifier'], 'ada');
  expect('with its query', (await seen()).url, '/upstream/app/other?a=1');
  await browser.open(`${gateway}/later/page`);
  expect('also on a route that is new', (await seen()).headers['x-credential-identifier'], 'ada');
  expect('the provider was not asked again', count('/auth'), before);

  await browser.open(`${gateway}/app/logout`);
  expect('logging out leads to the provider', (await browser.url()).startsWith(`${issuer}/session/end`), true);
  expect('tokens are given back', count('/token/revocation'), 2);
  await browser.click('button[name=logout]');
  await browser.text();
  expect('and back from there', await browser.url(), `${gateway}/public`);
  expect('no session is left', await browser.cookies(), []);
  await browser.open(`${gateway}/app/page`);
  expect('she would have to log in again', new URL(await browser.url()).pathname.split('/')[1], 'interaction');
};

// Parallel requests of a page whose tokens end.
const refreshing = async (gateway) => {
  const visitor = new Visitor();
  const page = await visitor.logIn(`${gateway}/fresh/page`, 'bob');
  expect('bob is known', page.json.headers['x-credential-identifier'], 'bob');
  const before = count('/token');
  const all = await Promise.all(Array.from({ length: 20 }, () => visitor.copy().ask(`${gateway}/fresh/page`)));
  expect('all requests pass', all.every(({ status }) => status === 200), true);
  expect('the refresh token was used once', count('/token'), before + 1);
  const tokens = new Set(all.map(({ json }) => json.headers.authorization));
  expect('all have the same new token', [tokens.size, tokens.has(page.json.headers.authorization)], [1, false]);
  const later = await visitor.ask(`${gateway}/fresh/page`);
  expect('the old cookie is good for a moment', later.status, 200);
  const again = await visitor.ask(`${gateway}/fresh/page`);
  expect('and the new one afterwards', [again.status, count('/token')], [200, before + 2]);
};

const otherWays = async (gateway) => {
  const pushed = await new Visitor().logIn(`${gateway}/par/page?a=1`, 'eve', (url) => url === `${gateway}/par/page?a=1`);
  expect('after a pushed request people come back to where they were', pushed.stoppedAt, `${gateway}/par/page?a=1`);
  expect('it was pushed', count('/request'), 1);
  const handed = await new Visitor().logIn(`${gateway}/tokens/page`, 'eve');
  expect('tokens are handed over', Object.keys(handed.json).sort(), ['access_token', 'id_token']);
  const said = (await new Visitor().logIn(`${gateway}/said/page`, 'eve')).json;
  const { active, sub, client_id: client, scope } = said.introspection ?? {};
  expect('and what the provider says of them, where that is wanted', [Object.keys(said), active, sub, client, scope],
    [['introspection'], true, 'eve', 'gateway', 'openid email']);
  const visitor = new Visitor();
  const form = await visitor.logIn(`${gateway}/post/page?b=2`, 'eve');
  const fields = [...form.text.matchAll(/name="(\w+)" value="([^"]+)"/g)].map(([, name, value]) => [name, value]);
  const back = await visitor.go(`${gateway}/post/page`, { form: Object.fromEntries(fields) });
  expect('an answer by POST lets in', [back.status, back.json.url], [200, '/upstream/post/page?b=2']);
};

const attacks = async (gateway) => {
  const page = `${gateway}/app/page`;
  const comesBack = (url) => url.startsWith(`${page}?`);
  const mallory = new Visitor();
  const { stoppedAt } = await mallory.logIn(page, 'mallory', comesBack);
  const victim = new Visitor();
  expect('a code from another browser', (await victim.ask(stoppedAt)).status, 401);
  await victim.go(page, {}, (url) => url.startsWith(issuer));
  expect('even with a login under way', (await victim.ask(stoppedAt)).status, 401);
  expect('the victim has no session', victim.cookie(page).includes('session='), false);
  const wrong = stoppedAt.replace(/state=[^&]+/, `state=${'A'.repeat(43)}`);
  expect('another state', (await mallory.ask(wrong)).status, 401);
  const elsewhere = mallory.copy();
  const copy = mallory.copy();
  expect('an answer of another provider', (await elsewhere.ask(stoppedAt.replace(/iss=[^&]+/, 'iss=http%3A%2F%2Fevil.test'))).status, 401);
  const unsaid = stoppedAt.replace(/&?iss=[^&]+/, '');
  expect('an answer that names no provider', (await mallory.copy().ask(unsaid)).status, 401);
  expect('the right answer', (await mallory.ask(stoppedAt)).status, 200);
  const replay = await copy.ask(stoppedAt);
  expect('the same once more, with the same cookies', [replay.status, replay.json.message],
    [401, 'Unauthorized (the login has been used already)']);

  const session = mallory.jar(page).get('session');
  const changed = session.slice(0, 40) + (session[40] === 'A' ? 'B' : 'A') + session.slice(41);
  const tampered = new Visitor();
  tampered.jar(page).set('session', changed);
  expect('a cookie that was changed', (await tampered.ask(page)).status, 302);
  await planting(page, session, comesBack);
  for (const name of ['app', 'plain']) await injecting(gateway, name);
  const away = await new Visitor().logIn(`${gateway}//evil.test/x?a=1`, 'eve', (url) => !url.startsWith(issuer) && !url.includes('/root/page'));
  expect('nobody is sent away from the gateway', away.stoppedAt, `${gateway}/evil.test/x?a=1`);
};

// Somebody comes back from a login with the session of an attacker in the browser.
const planting = async (page, session, comesBack) => {
  const target = new Visitor();
  const { stoppedAt } = await target.logIn(page, 'victim', comesBack);
  target.jar(page).set('session', session);
  const own = await target.ask(stoppedAt);
  expect('who logs in is who has logged in', own.json.headers['x-credential-identifier'], 'victim');
  const attacker = new Visitor();
  attacker.jar(page).set('session', session);
  const planted = await attacker.ask(page);
  expect('the session that was planted does not become theirs', planted.json.headers['x-credential-identifier'], 'mallory');
  const ids = [own, planted].map(({ headers }) => headers.get('session-id'));
  expect('and theirs has an id of its own', [ids.every(Boolean), ids[0] === ids[1]], [true, false]);
};

// An attacker's code, put into the login that somebody else has under way.
const injecting = async (gateway, name) => {
  const page = `${gateway}/${name}/page`;
  const { stoppedAt: theirs } = await new Visitor().logIn(page, 'mallory', (url) => url.startsWith(`${page}?`));
  const target = new Visitor();
  const { stoppedAt: way } = await target.go(page, {}, (url) => url.startsWith(issuer));
  const answer = { code: new URL(theirs).searchParams.get('code'), state: new URL(way).searchParams.get('state'), iss: issuer };
  const answered = await target.ask(`${page}?${new URLSearchParams(answer)}`);
  expect(`somebody else's code (${name})`, [answered.status, answered.json.message],
    [401, `Unauthorized (${name === 'app' ? 'the provider gives no tokens' : 'an ID token of another login'})`]);
};

const endedElsewhere = async (gateway) => {
  const visitor = new Visitor();
  const page = `${gateway}/app/page`;
  await visitor.logIn(page, 'carol');
  const stolen = visitor.copy();
  expect('carol has a session', (await visitor.ask(page)).status, 200);
  const end = await visitor.go(`${issuer}/session/end?client_id=gateway`);
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(end.text)[1];
  await visitor.go(`${issuer}/session/end/confirm`, { form: { xsrf, logout: 'yes' } });
  expect('who logs out at the provider', (await visitor.ask(page)).status, 302);
  expect('wherever the cookie is', (await stolen.ask(page)).status, 302);
  const forged = await new Visitor().ask(`${gateway}/app/backchannel`, { form: { logout_token: 'a.b.c' } });
  expect('a forged logout token', forged.status, 400);
};

const check = async (gateway, admin) => {
  provide(gateway);
  const reload = async (more) => {
    const body = JSON.stringify(configuration(gateway, more));
    const response = await fetch(`http://${admin}/config`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
    if (response.status !== 201) throw new Error(`the configuration is refused: ${await response.text()}`);
  };
  await reload([]);
  for (const story of [refreshing, otherWays, pointing, sharing, attacks, endedElsewhere]) {
    await story(gateway).catch((error) => expect(story.name, error.stack, ''));
  }
  const browser = await Chromium.start();
  const end = setTimeout(() => browser.end(), PATIENCE);
  try {
    await person(browser, gateway, reload);
    await strict(browser, gateway);
  } finally {
    clearTimeout(end);
    await browser.end();
  }
};

// By another name than the provider, so that they are different sites to browsers.
run(port, (proxy, admin) => check(`http://localhost:${proxy.split(':')[1]}`, admin));
