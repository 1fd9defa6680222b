// What programs with two gateways begin and end with: the service behind both, their configuration, and their addresses.

import { createServer } from 'node:http';
import { run } from '../program.mjs';

// A server that tells what it is asked under /upstream; all else is for what `answerWith` names.
export const serve = async () => {
  let answer = (request, response) => response.writeHead(503).end();
  const server = createServer((request, response) => {
    if (!request.url.startsWith('/upstream')) return answer(request, response);
    response.writeHead(200, { 'content-type': 'application/json' });
    return response.end(JSON.stringify({ headers: request.headers }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return { port, issuer: `http://127.0.0.1:${port}`, answerWith: (other) => { answer = other; } };
};

export const configure = async (admins, configuration) => {
  for (const admin of admins) {
    const body = JSON.stringify(configuration);
    const response = await fetch(`http://${admin}/config`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
    if (response.status !== 201) throw new Error(`the configuration is refused: ${await response.text()}`);
  }
};

// Has `check` look at the gateways, with their Admin APIs and what else the test says of places for sessions.
export const runWithTwo = (port, check) => run(port, (one, other, admin, otherAdmin, ...places) => {
  const gateways = [one, other].map((proxy) => `http://${proxy}`);
  return check(gateways, [admin, otherAdmin], JSON.parse(places.join(' ')));
});
