// A browser without a screen: keeps cookies, follows redirections as far as it is told to, and fills in the provider's forms.

export class Visitor {
  jars = new Map();

  jar(url) {
    const { host } = new URL(url);
    if (!this.jars.has(host)) this.jars.set(host, new Map());
    return this.jars.get(host);
  }

  cookie(url) {
    return [...this.jar(url)].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  // Another browser with the same cookies.
  copy() {
    const other = new Visitor();
    for (const [host, jar] of this.jars) other.jars.set(host, new Map(jar));
    return other;
  }

  async ask(url, { form, headers = {}, method } = {}) {
    const cookie = this.cookie(url);
    const response = await fetch(url, {
      method: method ?? (form ? 'POST' : 'GET'),
      body: form && new URLSearchParams(form),
      headers: { ...headers, ...(cookie && { cookie }) },
      redirect: 'manual',
    });
    const lines = response.headers.getSetCookie();
    for (const line of lines) {
      const [pair] = line.split(';');
      const [name, ...value] = pair.split('=');
      if (/max-age=0/i.test(line) || /expires=thu, 01 jan 1970/i.test(line)) this.jar(url).delete(name);
      else this.jar(url).set(name, value.join('='));
    }
    const text = await response.text();
    const location = response.headers.get('location');
    return {
      url, status: response.status, text, lines, headers: response.headers,
      location: location && new URL(location, url).href,
      get json() { return JSON.parse(text); },
    };
  }

  // Goes where it is sent until `stops` says so of an address, which is then not asked for.
  async go(url, options, stops = () => false) {
    let answer = await this.ask(url, options);
    for (let steps = 0; answer.location && answer.status < 400; steps += 1) {
      if (stops(answer.location)) return Object.assign(answer, { stoppedAt: answer.location });
      if (steps > 20) throw new Error(`redirected without end at ${answer.location}`);
      answer = await this.ask(answer.location);
    }
    return answer;
  }

  // Logs in at the provider as `login`, having asked for `url`, and comes back, or stops on the way.
  async logIn(url, login, stops) {
    let page = await this.go(url, {}, stops);
    for (let forms = 0; !page.stoppedAt && /name="prompt"/.test(page.text); forms += 1) {
      if (forms > 5) throw new Error(`forms without end at ${page.url}`);
      const action = new URL(/action="([^"]+)"/.exec(page.text)[1].replaceAll('&amp;', '&'), page.url).href;
      const prompt = /name="prompt" value="(\w+)"/.exec(page.text)[1];
      page = await this.go(action, { form: { prompt, login, password: 'any' } }, stops);
    }
    return page;
  }
}
