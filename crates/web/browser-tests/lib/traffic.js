/** The traffic of the tests: real programs of several names that send and receive known amounts over several ports. */
import { appendFileSync, copyFileSync, renameSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from './lab.js';

/** Real ranges of countries, in a network where every address is this machine. */
export const HOSTS = {
  'mirror.example.org': '193.51.208.10',
  'cdn.example.net': '128.112.18.10',
  'updates.example.com': '129.67.1.10',
  'sync.example.net': '133.1.138.10',
  'backup.example.org': '130.83.47.10',
  'files.example.net': '143.107.4.10',
};
export const PORTS = [80, 443, 8080, 8384, 8443];

const UDP = `
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
for i in range(int(sys.argv[2])):
    s.sendto(bytes(1000), (sys.argv[1], 4001))
    s.recv(2000)
`;
/** What a stranger may call a program. */
export const ODD = '<script>alert(1)<"\'&\u202egpj.exe';
export const ODD_LINE = '<img src=x onerror=alert(2)>\u001b[31m\u202e';

/** The network of the tests. */
export async function makeLab() {
  const lab = new Lab(HOSTS, PORTS);
  await lab.start();
  return lab;
}

/** @param {Lab} lab */
export async function makePrograms(lab) {
  const curl = '/usr/bin/curl';
  const busybox = '/bin/busybox';
  const python = '/usr/bin/python3';
  const many = Array.from({ length: 24 }, (_, i) =>
    lab.program(busybox, `opt/tools/tool-${String(i + 1).padStart(2, '0')}`),
  );
  return {
    browser: lab.program(curl, 'opt/firefox/firefox'),
    backup: lab.program(curl, 'usr/local/bin/restic'),
    sync: lab.program(python, 'usr/local/bin/syncthing'),
    fetcher: lab.program(busybox, 'usr/local/bin/fetcher'),
    updated: lab.program(curl, 'opt/updater/updater'),
    odd: lab.program(busybox, `opt/${ODD}`),
    many,
  };
}

/**
 * Two rounds of traffic; in the second a program is no longer the file it was. Returns the time between them.
 * @param {Lab} lab @param {Awaited<ReturnType<typeof makePrograms>>} programs
 * @param {() => Promise<unknown>} isRecorded waits until the first round is in the log
 */
export async function makeTraffic(lab, programs, isRecorded) {
  const get = (/** @type {string} */ program, /** @type {string} */ url) =>
    lab.ran(program, ['-sS', '-o', '/dev/null', url]);
  const wget = (/** @type {string} */ program, /** @type {string[]} */ args) =>
    lab.ran(program, ['-q', '-O', '/dev/null', ...args], 'wget');
  const upload = `${lab.directory}/upload`;
  appendFileSync(upload, Buffer.alloc(300_000));
  await get(programs.browser, 'http://mirror.example.org:443/3000000');
  await get(programs.browser, 'http://cdn.example.net:443/1200000');
  await get(programs.browser, 'http://cdn.example.net/90000');
  await lab.ran(programs.backup, ['-sS', '-T', upload, 'http://backup.example.org:8443/']);
  await lab.ran(programs.sync, ['-c', UDP, HOSTS['sync.example.net'], '200']);
  await wget(programs.fetcher, ['http://files.example.net:8080/250000']);
  await get(programs.updated, 'http://updates.example.com/400000');
  await wget(programs.odd, [
    '--header',
    `X-Odd: ${ODD_LINE.replaceAll(/[^ -~]/g, '')}`,
    '-U',
    ODD_LINE,
    'http://files.example.net/7000',
  ]);
  for (const [i, program] of programs.many.entries())
    await wget(program, [`http://cdn.example.net:8384/${(i + 1) * 500}`]);
  await isRecorded();
  const middle = Math.floor(Date.now() / 1000) + 1;
  await sleep(1500);
  // The same path, another file.
  copyFileSync(programs.updated, `${programs.updated}.new`);
  appendFileSync(`${programs.updated}.new`, 'version 2');
  renameSync(`${programs.updated}.new`, programs.updated);
  await lab.ran(programs.updated, ['-sS', '-o', '/dev/null', 'http://updates.example.com/410000']);
  await get(programs.browser, 'http://mirror.example.org:443/500000');
  await sleep(2500);
  await get(programs.browser, 'http://cdn.example.net:443/800000');
  return middle;
}
