/**
 * A PostgreSQL with the copies of two hosts: one is recorded by a daemon of its own, the other is the same an hour earlier under a
 * name that an attacker may have chosen.
 */
import { execFileSync } from 'node:child_process';
import { chownSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeBase, Process, startDaemon, until } from './lab.js';

/** A control character, markup, and a mark that turns the line around. */
export const HOSTILE = 'evil\u001b[31m<img src=x onerror=alert(1)>\u202egnp.exe';
/** As the page shows it. */
export const HOSTILE_SHOWN = 'evil\\x1b[31m<img src=x onerror=alert(1)>\\u{202e}gnp.exe';
export const PASSWORD = 'se\'cret-0f "the" reader';
/** PostgreSQL refuses root. */
const NOBODY = 65_534;
const TABLES = ['schema', 'log', 'window', 'record', 'context', 'program', 'endpoint', 'event'];

/** A program of the newest PostgreSQL. @param {string} name */
function postgres(name) {
  const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(a) - Number(b));
  return join('/usr/lib/postgresql', versions.at(-1) ?? '', 'bin', name);
}
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];

export class Fleet {
  /** @param {number} port */
  constructor(port) {
    this.port = port;
    this.directory = mkdtempSync(join(tmpdir(), 'picosnitch-fleet-'));
    chownSync(this.directory, NOBODY, NOBODY);
    this.passwordFile = join(this.directory, 'password');
    writeFileSync(this.passwordFile, PASSWORD);
    this.host = hostname();
    this.server = /** @type {Process | null} */ (null);
    /** @type {string[]} */
    this.directories = [this.directory];
  }

  /** @param {string} file @param {string[]} args */
  run(file, args) {
    const [first, ...rest] = [...AS_NOBODY, file, ...args];
    return execFileSync(first, rest, {
      cwd: this.directory,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** @param {string} sql @param {string} [database] */
  sql(sql, database = 'picosnitch') {
    const args = ['-h', this.directory, '-p', String(this.port), '-U', 'admin', '-d', database];
    return this.run(postgres('psql'), [...args, '-qAtX', '-v', 'ON_ERROR_STOP=1', '-c', sql]).trim();
  }

  startServer() {
    const options = ['listen_addresses=127.0.0.1', `unix_socket_directories=${this.directory}`, 'fsync=off'];
    const args = ['-D', join(this.directory, 'data'), '-p', String(this.port)];
    const [file, ...rest] = [
      ...AS_NOBODY,
      postgres('postgres'),
      ...args,
      ...options.flatMap((one) => ['-c', one]),
    ];
    this.server = new Process(file, rest, { cwd: this.directory });
    return this.server.line(/ready to accept connections/);
  }

  /** Starts the server, and records on this machine until it has that. @param {string} binary */
  async start(binary) {
    this.run(postgres('initdb'), [
      '-U',
      'admin',
      '--auth-local=trust',
      '--auth-host=scram-sha-256',
      '--no-sync',
      '--locale=C',
      '-E',
      'UTF8',
      '-D',
      join(this.directory, 'data'),
    ]);
    await this.startServer();
    const quoted = PASSWORD.replaceAll("'", "''");
    for (const user of ['agent', 'reader'])
      this.sql(`CREATE ROLE ${user} LOGIN PASSWORD '${quoted}'`, 'postgres');
    this.sql('CREATE DATABASE picosnitch OWNER agent', 'postgres');
    const base = makeBase(
      `[log.server]\nclient = "postgresql"\nhost = "localhost"\nport = ${this.port}\nuser = "agent"\ndatabase = "picosnitch"\npassword_file = "${this.passwordFile}"\n`,
    );
    this.directories.push(base);
    const daemon = await startDaemon(binary, base);
    const page = createServer((_, response) => response.end('a page')).listen(0, '127.0.0.1');
    try {
      await until('the listener', () => page.address());
      const { port } = /** @type {import('node:net').AddressInfo} */ (page.address());
      const curl = new Process('curl', ['-s', `http://127.0.0.1:${port}/`]);
      await curl.ended;
      const count = "SELECT count(*) FROM connections WHERE executable LIKE '%/curl' AND sent > 0";
      await until('the copy of the record', () => {
        try {
          return Number(this.sql(count)) > 0;
        } catch {
          return false;
        }
      });
    } finally {
      page.close();
      await daemon.stop();
    }
    this.addHost();
    for (const table of TABLES) this.sql(`GRANT SELECT ON picosnitch_${table} TO reader`);
  }

  /** The other host. */
  addHost() {
    this.sql(
      `INSERT INTO picosnitch_log SELECT 4711, uuid, epoch + 1, ${quote(HOSTILE)}, NULL, 0, began FROM picosnitch_log LIMIT 1`,
    );
    this.sql(
      'INSERT INTO picosnitch_window SELECT 4711, window_number, time - 3600, boot_id, uptime, first_sequence, nonce, records, deleted FROM picosnitch_window',
    );
    this.sql(
      'INSERT INTO picosnitch_record SELECT 4711, window_number, sequence, time - 3600, context, endpoint, local_port, remote_port, connections, sent, received, folded FROM picosnitch_record',
    );
    this.sql(
      'INSERT INTO picosnitch_event SELECT 4711, window_number, event_number, time - 3600, began, kind, subject, uid, path, name, sha256, amount, message, writer_pid, writer_path, writer_name, writer_uid FROM picosnitch_event',
    );
  }

  /** The options for a command that asks the server, as an account that may only read. */
  options() {
    return [
      '--source',
      `postgres://reader@127.0.0.1:${this.port}/picosnitch`,
      '--password-file',
      this.passwordFile,
    ];
  }

  async stop() {
    await this.server?.stop('SIGKILL');
    for (const directory of this.directories) rmSync(directory, { recursive: true, force: true });
  }
}

/** @param {string} text */
const quote = (text) => `'${text.replaceAll("'", "''")}'`;
