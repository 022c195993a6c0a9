// Connects by name: client.js COUNT. Half of the names are resolved by the C library, half by node's own resolver; 20
// connections are made in parallel.
const https = require('node:https');
const dns = require('node:dns');

const count = Number(process.argv[2]);
const groups = ['one', 'chain', 'six', 'large', 'plain'];
const nameOf = (number) => {
  const group = groups[number % groups.length];
  return `${group}-${Math.floor(number / groups.length) % (group === 'one' ? 10 : 150)}.test`;
};

const lookupWithNode = (name, options, done) => {
  const resolve = name.startsWith('six') ? dns.resolve6 : dns.resolve4;
  resolve(name, (error, addresses) => {
    if (error) return done(error);
    const family = name.startsWith('six') ? 6 : 4;
    return options.all ? done(null, [{ address: addresses[0], family }]) : done(null, addresses[0], family);
  });
};

const get = (number) =>
  new Promise((resolve) => {
    const options = { agent: false, headers: { 'User-Agent': 'node' }, timeout: 20000 };
    if (number % 2) options.lookup = lookupWithNode;
    https
      .get(`https://${nameOf(number)}/`, options, (response) => response.resume().on('end', resolve))
      .on('error', (error) => {
        console.error(error.message);
        process.exitCode = 1;
        resolve();
      });
  });

(async () => {
  for (let number = 0; number < count; number += 20) {
    await Promise.all(Array.from({ length: Math.min(20, count - number) }, (_, at) => get(number + at)));
  }
})();
