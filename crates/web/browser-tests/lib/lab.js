/**
 * A network of its own with a name server and other servers, programs that talk to them, and a daemon that records it all.
 * Everything it starts is in `started` and is ended by `stop`.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const REPOSITORY = join(HERE, '../../../..');
/** Longest wait for anything on a slow machine. */
const PATIENCE = 60_000;
/** The address of all clients. */
const CLIENT = '192.168.1.20';

/**
 * Waits until `done` gives something true, and returns that.
 * @template T
 * @param {string} what @param {() => T | Promise<T>} done @param {number} [patience] milliseconds
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, done, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await done();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

/** The group that may read a log, as the daemon finds it. */
function serviceGroup() {
  try {
    return Number(execFileSync('getent', ['passwd', 'picosnitch'], { encoding: 'utf8' }).split(':')[3]);
  } catch {
    return 65534;
  }
}

/** A process whose output is kept, so that one can wait for a line of it. */
export class Process {
  /** @param {string} file @param {string[]} args @param {import('node:child_process').SpawnOptions} [options] */
  constructor(file, args, options = {}) {
    this.text = '';
    this.code = /** @type {number | null} */ (null);
    // A group of its own, so that what it started can be ended with it.
    this.child = spawn(file, args, { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (data) => {
        this.text += data;
      });
    }
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => {
        this.text += error;
        resolve(-1);
      });
      this.child.on('close', (code, signal) => {
        this.code = code ?? -1;
        if (signal) this.text += `ended by ${signal}`;
        resolve(this.code);
      });
    });
  }

  /** @param {RegExp} pattern */
  async line(pattern) {
    return until(`${pattern} of ${this.child.spawnfile}`, () => {
      const found = pattern.exec(this.text);
      if (!found && this.code !== null) throw new Error(`it ended without ${pattern}: ${this.text}`);
      return found;
    });
  }

  /** @param {NodeJS.Signals} [signal] */
  async stop(signal = 'SIGTERM') {
    if (this.code === null && signal !== 'SIGKILL') this.child.kill(signal);
    const kill = () => {
      try {
        process.kill(-Number(this.child.pid), 'SIGKILL');
      } catch {
        // All of it has ended.
      }
    };
    if (signal === 'SIGKILL') kill();
    const timer = setTimeout(kill, 10_000);
    await this.ended;
    clearTimeout(timer);
  }
}

/** Makes a directory for the files of a daemon, as the package makes /var/lib/picosnitch. @param {string} [more] of the configuration */
export function makeBase(more = '') {
  const base = mkdtempSync(join(tmpdir(), 'picosnitch-page-'));
  chownSync(base, 0, serviceGroup());
  chmodSync(base, 0o1770);
  const country = join(base, 'country.mmdb');
  copyFileSync(join(REPOSITORY, 'assets/country.mmdb'), country);
  chmodSync(country, 0o644);
  writeFileSync(
    join(base, 'config.toml'),
    `[log]\nwrite_limit_seconds = 1\n${more}\n[names]\ncountry_file = "${country}"\n`,
  );
  return base;
}

/** @param {string} binary @param {string} base @param {(file: string, args: string[]) => Process} [run] */
export async function startDaemon(binary, base, run = (file, args) => new Process(file, args)) {
  const daemon = run(binary, ['--base-dir', base, 'start-no-daemon']);
  await daemon.line(/picosnitch: recording\n/);
  return daemon;
}

let port = 20_000 + (process.pid % 20_000);

/**
 * Starts the server of the page; `address` has the token in it.
 * @param {string} binary @param {string} base @param {string[]} [options] @param {string[]} [within] a command that runs it
 */
export async function startDash(binary, base, options = [], within = []) {
  port += 1;
  const env = { ...process.env, PICOSNITCH_PORT: String(port) };
  const [file, ...args] = [...within, binary, '--base-dir', base, 'dash', '--no-browser', ...options];
  const dash = new Process(file, args, { env });
  const [address] = await dash.line(/http:\/\/localhost:\d+\/(#token=\w+)?/);
  return { dash, address, origin: `http://localhost:${port}`, port };
}

/**
 * The answer of `picosnitch query`.
 * @param {string} binary @param {string} base @param {string[]} args
 */
export const query = (binary, base, args) =>
  execFileSync(binary, ['--base-dir', base, 'query', ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'ignore'],
  });

export class Lab {
  /** @param {Record<string, string>} hosts address by name @param {number[]} ports */
  constructor(hosts, ports) {
    this.directory = mkdtempSync(join(tmpdir(), 'picosnitch-lab-'));
    chmodSync(this.directory, 0o755);
    this.hosts = hosts;
    this.ports = ports;
    /** @type {Process[]} */
    this.started = [];
  }

  /** Opens the network and starts its servers; `prepare` is a shell command that changes the mounts first. @param {string} [prepare] @param {string} [users] lines of passwd */
  async start(prepare = 'true', users = '') {
    // A network in which every address is this machine, and name servers of its own.
    cpSync('/etc', join(this.directory, 'etc'), {
      recursive: true,
      verbatimSymlinks: true,
      errorOnExist: false,
    });
    const passwd = join(this.directory, 'etc/passwd');
    // The first line of a number counts.
    writeFileSync(passwd, users + readFileSync(passwd, 'utf8'));
    rmSync(join(this.directory, 'etc/resolv.conf'), { force: true });
    writeFileSync(join(this.directory, 'etc/resolv.conf'), 'nameserver 192.168.1.1\noptions timeout:2\n');
    writeFileSync(
      join(this.directory, 'etc/nsswitch.conf'),
      'passwd: files\ngroup: files\nhosts: files dns\n',
    );
    const script = `
      mount --bind "$0/etc" /etc && ip link set lo up && ip address add ${CLIENT}/24 dev lo && ip address add 192.168.1.1/24 dev lo &&
      ip route add local 0.0.0.0/1 dev lo src ${CLIENT} && ip route add local 128.0.0.0/1 dev lo src ${CLIENT} && ${prepare} &&
      echo ready && exec sleep infinity`;
    this.holder = this.spawn('unshare', [
      '--net',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      script,
      this.directory,
    ]);
    await this.holder.line(/ready/);
    const lab = join(this.directory, 'lab.json');
    const echo = [...new Set(Object.values(this.hosts))];
    writeFileSync(
      lab,
      JSON.stringify({ hosts: this.hosts, ports: this.ports, echo, datagrams: [123, 4001] }),
    );
    // The mounts of `prepare` may hide where this file is.
    const copy = join(this.directory, 'servers.py');
    copyFileSync(join(HERE, 'servers.py'), copy);
    const servers = this.run(this.program('/usr/bin/python3', 'srv/web-server'), [copy, lab]);
    await servers.line(/ready/);
  }

  /** @param {string} file @param {string[]} args @param {import('node:child_process').SpawnOptions} [options] */
  spawn(file, args, options) {
    const process = new Process(file, args, options);
    this.started.push(process);
    return process;
  }

  /** A copy of a program under another name. @param {string} original @param {string} name */
  program(original, name) {
    const path = join(this.directory, name);
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(original, path);
    chmodSync(path, 0o755);
    return path;
  }

  /** The command that runs a program in the network. @param {string[]} command @returns {[string, string[]]} */
  inside(command) {
    const place = `/proc/${this.holder?.child.pid}/ns`;
    return ['nsenter', [`--net=${place}/net`, `--mount=${place}/mnt`, ...command]];
  }

  /** Starts a program in the network. @param {string} file @param {string[]} args @param {string} [name] argv[0], which busybox looks at */
  run(file, args, name) {
    const command = name ? ['bash', '-c', 'exec -a "$0" "$@"', name, file, ...args] : [file, ...args];
    return this.spawn(...this.inside(command));
  }

  /** Runs a program in the network to its end. @param {string} file @param {string[]} args @param {string} [name] */
  async ran(file, args, name) {
    const process = this.run(file, args, name);
    const code = await process.ended;
    if (code !== 0) throw new Error(`${file} ${args.join(' ')}: ${code} ${process.text}`);
    this.started.splice(this.started.indexOf(process), 1);
  }

  async stop() {
    for (const process of this.started.reverse()) await process.stop('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  }
}
