/** The traffic of the pictures: some minutes of a computer at work, with programs that people know. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from './lab.js';

/** Made-up names, at addresses of real countries in a network where every address is this machine. */
const HOSTS = {
  'media.example.net': '128.112.18.21',
  'www.example.com': '129.67.1.80',
  'mirror.example.org': '193.51.208.14',
  'sync.example.net': '130.83.47.181',
  'backup.example.org': '192.36.148.17',
  'mail.example.com': '145.97.39.155',
  'git.example.com': '128.30.2.36',
  'chat.example.net': '133.1.138.60',
  'time.example.org': '193.190.230.65',
  'weather.example.org': '129.132.98.12',
  'files.example.net': '143.107.4.211',
  'telemetry.example.com': '203.208.60.1',
};
const PORTS = [22, 80, 443, 993, 8443, 22000];
export const SECONDS = 330;
/** Sizes of what is sent are multiples of this. */
const STEP = 60_000;

const CLOCK = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
for name in sys.argv[1:]:
    s.sendto(bytes(48), (socket.gethostbyname(name), 123))
    s.recv(100)
`;

/** Numbers that look like chance and are the same each time. */
function dice() {
  let state = 42;
  return () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state / 0x7fffffff;
  };
}

export class Scene {
  constructor() {
    this.lab = new Lab(HOSTS, PORTS);
    this.random = dice();
    /** @type {Promise<unknown>[]} */
    this.running = [];
  }

  async start() {
    const { lab } = this;
    const place = (/** @type {string} */ path) => `root/${path}`;
    const curl = '/usr/bin/curl';
    for (const path of [
      'opt/firefox/firefox',
      'opt/thunderbird/thunderbird',
      'opt/Signal/signal-desktop',
      'usr-local/bin/syncthing',
      'usr-local/bin/restic',
      'usr-local/bin/apt',
      'usr-local/bin/git',
      'home/anna/.cache/.helper/agent',
    ])
      lab.program(curl, place(path));
    lab.program('/usr/bin/python3', place('usr-local/bin/chronyd'));
    mkdirSync(join(lab.directory, 'root/home/anna'), { recursive: true });
    for (let i = 1; i <= 30; i++) writeFileSync(this.upload(i * STEP), Buffer.alloc(i * STEP));
    const prepare = ['opt', 'home', 'usr-local']
      .map((name) => `mount --bind "$0/root/${name}" /${name.replace('-', '/')}`)
      .join(' && ');
    await lab.start(prepare, 'anna:x:1000:1000:Anna:/home/anna:/bin/bash\n');
  }

  /** Runs a program as a child of a shell. @param {number} user @param {string[]} command */
  run(user, ...command) {
    const as = user ? ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups'] : [];
    const [file, args] = this.lab.inside([...as, 'bash', '-c', '"$0" "$@"; :', ...command]);
    const done = this.lab.spawn(file, args);
    this.running.push(done.ended);
    return done;
  }

  /** @param {number} user @param {string} program @param {string} place host and port @param {number} bytes @param {number} [rate] */
  get(user, program, place, bytes, rate) {
    return this.run(
      user,
      program,
      '-sS',
      '--max-time',
      '900',
      '-o',
      '/dev/null',
      `http://${place}/${Math.round(bytes)}${rate ? `/${rate}` : ''}`,
    );
  }

  /** The file that is about so large. @param {number} bytes */
  upload(bytes) {
    return join(this.lab.directory, `upload-${Math.min(30, Math.max(1, Math.round(bytes / STEP)))}`);
  }

  /** @param {number} user @param {string} program @param {string} place @param {number} bytes */
  put(user, program, place, bytes) {
    return this.run(user, program, '-sS', '-o', '/dev/null', '-T', this.upload(bytes), `http://${place}/`);
  }

  /** What happens in a second. @param {number} t */
  second(t) {
    const chance = (/** @type {number} */ of) => this.random() < of;
    const about = (/** @type {number} */ bytes) => bytes * (0.4 + 1.2 * this.random());
    const firefox = '/opt/firefox/firefox';
    if (chance(0.3))
      this.get(
        1000,
        firefox,
        `${['www.example.com', 'git.example.com', 'files.example.net'][Math.floor(this.random() * 3)]}:443`,
        about(160_000),
      );
    if (t > 95 && t < 215 && t % 3 === 0) this.get(1000, firefox, 'media.example.net:443', about(1_900_000));
    if (t % 7 === 0) this.get(1000, '/usr/local/bin/syncthing', 'sync.example.net:22000', about(260_000));
    if (t % 11 === 0) this.put(1000, '/usr/local/bin/syncthing', 'sync.example.net:22000', about(420_000));
    if (t > 195 && t < 285 && t % 2 === 0)
      this.put(0, '/usr/local/bin/restic', 'backup.example.org:8443', about(1_100_000));
    if (t > 30 && t < 62 && t % 2 === 0)
      this.get(0, '/usr/local/bin/apt', 'mirror.example.org:80', about(1_500_000));
    if (t % 26 === 3) this.get(1000, '/opt/thunderbird/thunderbird', 'mail.example.com:993', about(240_000));
    if (t % 14 === 5) this.get(1000, '/opt/Signal/signal-desktop', 'chat.example.net:443', about(90_000));
    if (t % 33 === 8) this.get(1000, '/usr/local/bin/git', 'git.example.com:22', about(700_000));
    if (t % 45 === 9) this.run(0, '/usr/local/bin/chronyd', '-c', CLOCK, 'time.example.org');
    if (t % 60 === 20) this.get(1000, '/usr/bin/curl', 'weather.example.org:80', 12_000);
    if (t === 150) this.change();
    if (t > 240 && t % 9 === 0)
      this.put(1000, '/home/anna/.cache/.helper/agent', 'telemetry.example.com:443', about(180_000));
  }

  /** Another file in place of a program, as an update does. */
  change() {
    const path = '/opt/Signal/signal-desktop';
    this.run(
      0,
      'sh',
      '-c',
      `(cat ${path}; echo 2) > ${path}.new && chmod 755 ${path}.new && mv ${path}.new ${path}`,
    );
  }

  /**
   * What is known before the pictures begin: all programs and destinations but one. What comes in the minutes after that is new.
   */
  async warmUp() {
    const hosts = Object.keys(HOSTS).filter((name) => !name.startsWith('telemetry'));
    for (const name of hosts) this.get(1000, '/opt/firefox/firefox', `${name}:443`, 20_000);
    for (const t of [0, 3, 5, 8, 9, 11, 20]) this.second(t);
    this.get(0, '/usr/local/bin/apt', 'mirror.example.org:80', 30_000);
    this.put(0, '/usr/local/bin/restic', 'backup.example.org:8443', STEP);
    await Promise.all(this.running);
    // The page rounds to minutes what was new in a range.
    await sleep(60_000 - (Date.now() % 60_000) + 1000);
  }

  /** All of it, with word of it each half minute. @param {(text: string) => void} say @param {number} [from] @param {number} [to] */
  async play(say, from = 0, to = SECONDS) {
    const began = Date.now() - from * 1000;
    for (let t = from; t < to; t++) {
      this.second(t);
      if (t % 30 === 0) say(`second ${t} of ${to}`);
      await sleep(Math.max(0, began + (t + 1) * 1000 - Date.now()));
    }
  }

  /** Connections that go on, for the page Live. */
  linger() {
    this.get(1000, '/opt/firefox/firefox', 'media.example.net:443', 4e8, 640_000);
    this.get(1000, '/opt/firefox/firefox', 'www.example.com:443', 4e8, 22_000);
    this.get(1000, '/usr/local/bin/syncthing', 'sync.example.net:22000', 4e8, 180_000);
    this.get(0, '/usr/local/bin/apt', 'mirror.example.org:80', 4e8, 310_000);
    this.get(1000, '/opt/thunderbird/thunderbird', 'mail.example.com:993', 4e8, 900);
    this.get(1000, '/opt/Signal/signal-desktop', 'chat.example.net:443', 4e8, 3_000);
  }
}
