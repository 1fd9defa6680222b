// A person's browser: Chromium, without a window, told what to do by WebDriver. Whoever starts one ends it.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// A file of our own for each browser; nothing but this machine is reached.
const flags = (profile) => [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-default-apps',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1', `--user-data-dir=${profile}`,
];

const startDriver = () => new Promise((resolve, reject) => {
  const driver = spawn('chromedriver', ['--port=0', '--allowed-ips=127.0.0.1'], { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  driver.once('error', reject);
  driver.once('exit', () => reject(new Error(`chromedriver ended: ${said}`)));
  driver.stdout.on('data', (piece) => {
    said += piece;
    const port = /successfully on port (\d+)/.exec(said);
    if (port) resolve({ driver, address: `http://127.0.0.1:${port[1]}` });
  });
});

export class Chromium {
  static async start() {
    const browser = new Chromium();
    browser.profile = mkdtempSync(join(tmpdir(), 'chromium-'));
    try {
      Object.assign(browser, await startDriver());
      const options = { args: flags(browser.profile) };
      // A page that is still on its way is waited for.
      const wanted = { browserName: 'chrome', timeouts: { implicit: 30_000 }, 'goog:chromeOptions': options };
      const { sessionId } = await browser.#ask('POST', '/session', { capabilities: { alwaysMatch: wanted } });
      browser.session = `/session/${sessionId}`;
    } catch (error) {
      await browser.end();
      throw error;
    }
    return browser;
  }

  async #ask(method, path, body) {
    const response = await fetch(`${this.address}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${path}: ${value.message}`);
    return value;
  }

  open(url) {
    return this.#ask('POST', `${this.session}/url`, { url });
  }

  url() {
    return this.#ask('GET', `${this.session}/url`);
  }

  // What a page says that is no HTML.
  async text() {
    return this.#ask('GET', `${this.session}/element/${await this.#element('pre')}/text`);
  }

  // What scripts of a page see of its cookies.
  cookiesOfScripts() {
    return this.#ask('POST', `${this.session}/execute/sync`, { script: 'return document.cookie', args: [] });
  }

  cookies() {
    return this.#ask('GET', `${this.session}/cookie`);
  }

  async #element(css) {
    const found = await this.#ask('POST', `${this.session}/element`, { using: 'css selector', value: css });
    return Object.values(found)[0];
  }

  async type(css, text) {
    await this.#ask('POST', `${this.session}/element/${await this.#element(css)}/value`, { text });
  }

  // Returns when the page that follows has loaded.
  async click(css) {
    await this.#ask('POST', `${this.session}/element/${await this.#element(css)}/click`, {});
  }

  async end() {
    if (this.session) await this.#ask('DELETE', this.session).catch(() => {});
    this.driver?.removeAllListeners('exit');
    this.driver?.kill();
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
