//! The rows of a sample: a desktop with many programs, a few of which move most bytes.

use std::{rc::Rc, sync::OnceLock};

use sha2::{Digest, Sha256};

use super::Options;

const PROGRAMS: u64 = 2000;
const DOMAINS: u64 = 5000;
const DAY: i64 = 86_400;

/// A program as the original stored it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// Path of the executable; may be no UTF-8.
    pub exe: Vec<u8>,
    /// Its name.
    pub name: String,
    /// Its command line, with blanks.
    pub command_line: Vec<u8>,
    /// Its digest, or an error text.
    pub sha256: String,
}

impl Program {
    /// Whether there is a digest, and no error text.
    pub fn has_digest(&self) -> bool {
        self.sha256.len() == 64
    }
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Unix seconds UTC.
    pub time: i64,
    /// The program, its parent and the parent of that.
    pub program: Rc<Program>,
    /// The parent.
    pub parent: Rc<Program>,
    /// The parent of the parent.
    pub grandparent: Rc<Program>,
    /// The user.
    pub uid: u32,
    /// Merged events; the connections of older formats.
    pub events: i64,
    /// Bytes sent.
    pub sent: i64,
    /// Bytes received.
    pub received: i64,
    /// Local port; -1 for an executed program.
    pub local_port: i64,
    /// Remote port; -1 for an executed program.
    pub remote_port: i64,
    /// Local address; empty for none.
    pub local_address: String,
    /// Remote address; empty for none.
    pub remote_address: String,
    /// Domain in its usual order; empty for none.
    pub domain: String,
    /// Address family.
    pub family: i64,
    /// IP protocol.
    pub protocol: i64,
}

impl Row {
    /// Whether the row is about a program that was executed, not about traffic.
    pub fn is_execution(&self) -> bool {
        self.remote_port == -1
    }
}

/// Pseudo-random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number below `end`, small ones far more often.
    fn skewed(&mut self, end: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((end as f64).powf(unit) - 1.0) as u64
    }
}

/// The rows of a sample, in the order of their times.
pub fn rows(options: &Options) -> impl Iterator<Item = Row> + '_ {
    let mut random = Random(options.seed);
    let programs: Vec<Vec<Rc<Program>>> = (0..PROGRAMS).map(|number| variants(&mut random, number)).collect();
    let first = options.until - options.days * DAY;
    let mut time = first;
    (0..options.rows).map(move |number| {
        let due = first
            + ((options.until - first) as i128 * i128::from(number + 1) / i128::from(options.rows.max(1)))
                as i64;
        // Rows come in bursts of one write.
        if due >= time + 10 || number % 7 == 0 || number + 1 == options.rows {
            time = due.max(time);
        }
        row(&mut random, &programs, time)
    })
}

fn row(random: &mut Random, programs: &[Vec<Rc<Program>>], time: i64) -> Row {
    let chosen = random.skewed(PROGRAMS) as usize % programs.len();
    let variants = &programs[chosen];
    let program = Rc::clone(&variants[random.below(variants.len() as u64) as usize]);
    let parent = Rc::clone(&programs[chosen / 20][0]);
    let grandparent = Rc::clone(&programs[0][0]);
    let uid = [1000, 1000, 1000, 1001, 0][chosen % 5];
    let events = 1 + random.skewed(40) as i64;
    let none = Row {
        time,
        program,
        parent,
        grandparent,
        uid,
        events,
        sent: 0,
        received: 0,
        local_port: -1,
        remote_port: -1,
        local_address: String::new(),
        remote_address: String::new(),
        domain: String::new(),
        family: 0,
        protocol: 0,
    };
    if random.below(50) == 0 {
        return none;
    }
    // A program has some domains of its own.
    let peer = (chosen as u64 * 37 + random.skewed(200)) % DOMAINS;
    let is_ipv6 = peer.is_multiple_of(5);
    let remote_address = match is_ipv6 {
        true => format!("2001:db8:{:x}::{:x}", peer / 256, 1 + peer % 256),
        false => format!("{}.{}.{}.{}", 11 + peer % 80, peer % 251, (peer / 7) % 250, 1 + peer % 250),
    };
    let local_address = if is_ipv6 { "2001:db8::20" } else { "192.168.1.20" }.to_owned();
    Row {
        sent: random.skewed(50_000) as i64,
        received: random.skewed(5_000_000) as i64,
        local_port: 32_768 + random.below(28_000) as i64,
        remote_port: [443, 443, 443, 443, 80, 53, 22, 8443][random.below(8) as usize],
        local_address,
        remote_address,
        domain: match peer % 4 {
            0 => String::new(),
            _ => format!("host-{peer}.service-{}.example.com", peer % 300),
        },
        family: if is_ipv6 { 10 } else { 2 },
        protocol: if random.below(4) == 0 { 17 } else { 6 },
        ..none
    }
}

fn long_argument() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        (0..60).map(|number| format!("--enable-feature-{number}=/opt/vendor/path-{number} ")).collect()
    })
}

/// A program with the command lines under which it runs.
fn variants(random: &mut Random, number: u64) -> Vec<Rc<Program>> {
    let name = format!("program-{number}");
    let mut exe = match number % 4 {
        0 => format!("/usr/bin/{name}"),
        1 => format!("/usr/lib/application-{number}/{name}"),
        2 => format!("/opt/vendor, inc/{name}"),
        _ => format!("/home/user/.local/bin/{name}"),
    }
    .into_bytes();
    if number % 101 == 100 {
        exe.extend_from_slice(b"-\xff\xfe");
    }
    let sha256 = match number % 211 {
        210 => "FUSE: Permission denied, unable to hash".to_owned(),
        209 => String::from("!!! Hash error: process ended"),
        _ => hex::encode(Sha256::digest(format!("program {number}"))),
    };
    (0..1 + random.skewed(12))
        .map(|variant| {
            let mut command_line = format!("/usr/bin/{name} --profile {variant}").into_bytes();
            if (number + variant) % 10 == 7 {
                command_line.push(b' ');
                command_line.extend_from_slice(long_argument().as_bytes());
            }
            let name = name.chars().take(15).collect();
            Rc::new(Program { exe: exe.clone(), name, command_line, sha256: sha256.clone() })
        })
        .collect()
}
