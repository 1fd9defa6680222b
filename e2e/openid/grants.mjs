// What callers bring other than tokens of their own to a certified OpenID Connect provider (the package oidc-provider): passwords,
// secrets of clients, refresh tokens; and tokens of whose holders the provider tells. Says "port N" on the standard output, reads
// the addresses of the gateway and of its Admin API from the standard input, then says what went wrong and "N failed". The folder
// with the package is the first argument.

import { configure, serve } from './pair.mjs';
import { expect, key, Provider, run } from './provided.mjs';

const { port, issuer, answerWith } = await serve();
const PASSWORDS = { ada: 'right: & proper', bob: 'his own' };
const SECRET = 'a secret: of the robot';

// The password grant (RFC 6749 4.3), which the package leaves to who wants it.
const byPassword = (provider) => async (ctx) => {
  const { client, params: { username, password, scope } } = ctx.oidc;
  if (!Object.hasOwn(PASSWORDS, username) || PASSWORDS[username] !== password) {
    ctx.status = 400;
    ctx.body = { error: 'invalid_grant' };
    return;
  }
  const grant = new provider.Grant({ accountId: username, clientId: client.clientId });
  grant.addOIDCScope(scope);
  const common = { accountId: username, client, grantId: await grant.save(), gty: 'password', scope, expiresWithSession: false };
  const access = new provider.AccessToken(common);
  const value = await access.save();
  const id = new provider.IdToken({ sub: username }, { ctx });
  id.scope = 'openid';
  id.set('at_hash', value);
  ctx.body = {
    access_token: value, id_token: await id.issue({ use: 'idtoken' }), expires_in: access.expiration, scope, token_type: access.tokenType,
    refresh_token: await new provider.RefreshToken({ ...common, rotations: 0 }).save(),
  };
};

const asked = [];
const times = (path) => asked.filter((url) => url.split('?')[0] === path).length;
const provide = () => {
  const [privateKey] = key('one');
  const none = { response_types: [], redirect_uris: [] };
  const provider = new Provider(issuer, {
    jwks: { keys: [privateKey] },
    clients: [
      { ...none, client_id: 'gateway', client_secret: 'of the gateway', grant_types: ['password', 'refresh_token'] },
      { ...none, client_id: 'robot', client_secret: SECRET, grant_types: ['client_credentials'] },
    ],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    claims: { openid: ['sub'], email: ['email'], groups: ['groups'] },
    scopes: ['openid', 'email', 'groups', 'offline_access'],
    findAccount: (_, id) => ({
      accountId: id, claims: () => ({ sub: id, email: `${id}@example.com`, groups: id === 'ada' ? ['staff'] : ['guests'] }),
    }),
    rotateRefreshToken: true,
    features: { clientCredentials: { enabled: true }, introspection: { enabled: true, allowedPolicy: () => true } },
    cookies: { keys: ['not a secret'] },
  });
  provider.registerGrantType('password', byPassword(provider), ['username', 'password', 'scope']);
  const callback = provider.callback();
  answerWith((request, response) => {
    asked.push(request.url);
    callback(request, response);
  });
};

const configuration = () => {
  const common = {
    issuer, client_id: ['gateway'], client_secret: ['of the gateway'], scopes: ['openid', 'email', 'groups'], display_errors: true,
    upstream_headers_claims: ['email'], upstream_headers_names: ['X-Email'],
  };
  const route = (name, config) => ({
    name, paths: [`/${name}`], plugins: [{ name: 'openid-connect', config: { ...common, ...config } }],
  });
  return {
    _format_version: '3.0',
    services: [{
      name: 'upstream', url: `${issuer}/upstream`,
      routes: [
        route('password', { auth_methods: ['password'], search_user_info: true }),
        route('robots', { auth_methods: ['client_credentials'], scopes: [] }),
        route('refresh', { auth_methods: ['refresh_token'], refresh_token_param_name: 'refresh-token' }),
        route('userinfo', { auth_methods: ['userinfo'] }),
        route('staff', { auth_methods: ['introspection'], search_user_info: true, groups_required: ['staff'] }),
      ],
    }],
  };
};

const encode = (text) => new URLSearchParams({ x: text }).toString().slice(2);
const pair = (name, secret) => `Basic ${Buffer.from(`${name}:${secret}`).toString('base64')}`;
const granted = async (form, authorization = pair('gateway', encode('of the gateway'))) => {
  const response = await fetch(`${issuer}/token`, { method: 'POST', headers: { authorization }, body: new URLSearchParams(form) });
  return response.json();
};
const tokensOf = (username) => granted({ grant_type: 'password', username, password: PASSWORDS[username], scope: 'openid email groups' });
const ask = async (url, headers) => {
  const response = await fetch(url, { headers });
  const told = response.status === 200 ? (await response.json()).headers : {};
  return { status: response.status, email: told['x-email'], who: told['x-credential-identifier'], told };
};
const seen = ({ status, who, email }) => [status, who, email];
const bearer = (token) => ({ authorization: `Bearer ${token}` });

const passwords = async (gateway) => {
  const url = `${gateway}/password`;
  const ada = { authorization: pair('ada', PASSWORDS.ada) };
  const first = await ask(url, ada);
  expect('a right password', seen(first), [200, 'ada', 'ada@example.com']);
  expect('the upstream gets the token', /^Bearer [\w-]+$/.test(first.told.authorization), true);
  const before = [times('/token'), times('/me')];
  expect('once more', seen(await ask(url, ada)), [200, 'ada', 'ada@example.com']);
  expect('nobody is asked again', [times('/token'), times('/me')], before);
  for (const authorization of [pair('ada', 'wrong'), pair('bob', PASSWORDS.ada), pair('__proto__', 'x')]) {
    expect('a wrong one', (await ask(url, { authorization })).status, 401);
  }
};

const robots = async (gateway) => {
  const url = `${gateway}/robots`;
  expect('a client', (await ask(url, { authorization: pair('robot', SECRET) })).status, 200);
  expect('with a wrong secret', (await ask(url, { authorization: pair('robot', 'wrong') })).status, 401);
  expect('a person', (await ask(url, { authorization: pair('ada', PASSWORDS.ada) })).status, 401);
};

const refreshTokens = async (gateway) => {
  const url = `${gateway}/refresh`;
  const { refresh_token: token } = await tokensOf('ada');
  const before = times('/token');
  const many = await Promise.all(Array.from({ length: 10 }, () => ask(url, { 'refresh-token': token })));
  expect('a refresh token', many.map(({ status, who }) => [status, who]), many.map(() => [200, 'ada']));
  expect('is not passed on', many.some(({ told }) => 'refresh-token' in told), false);
  expect('and used once: a second use is theft to this provider', times('/token') - before, 1);
  expect('a forged one', (await ask(url, { 'refresh-token': `${token}x` })).status, 401);
};

const userInfo = async (gateway) => {
  const url = `${gateway}/userinfo`;
  const { access_token: token } = await tokensOf('ada');
  const before = times('/me');
  for (const time of ['first', 'second']) {
    expect(`a token whose holder the provider knows (${time})`, seen(await ask(url, bearer(token))), [200, 'ada', 'ada@example.com']);
  }
  expect('it is asked once', times('/me') - before, 1);
  const robot = await granted({ grant_type: 'client_credentials' }, pair('robot', encode(SECRET)));
  expect('a token of no user', (await ask(url, bearer(robot.access_token))).status, 401);
  expect('a forged one', (await ask(url, bearer(`${token}x`))).status, 401);
};

const searched = async (gateway) => {
  const url = `${gateway}/staff`;
  const { access_token: ada } = await tokensOf('ada');
  const { access_token: bob } = await tokensOf('bob');
  const before = times('/me');
  for (const time of ['first', 'second']) {
    expect(`groups that only the word about the user has (${time})`, seen(await ask(url, bearer(ada))), [200, 'ada', 'ada@example.com']);
    expect(`somebody of other groups (${time})`, (await ask(url, bearer(bob))).status, 403);
  }
  expect('each user is asked about once', times('/me') - before, 2);
  const robot = await granted({ grant_type: 'client_credentials' }, pair('robot', encode(SECRET)));
  expect('a token that is good, of no user', (await ask(url, bearer(robot.access_token))).status, 401);
};

const check = async (gateway, admin) => {
  provide();
  await configure([admin], configuration());
  for (const story of [passwords, robots, refreshTokens, userInfo, searched]) {
    await story(gateway).catch((error) => expect(story.name, error.stack, ''));
  }
};

run(port, (address, admin) => check(`http://${address}`, admin));
