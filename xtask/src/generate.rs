//! `cargo xtask gen-db`: makes the log of a busy desktop after months, with the writer of the daemon.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{bail, ensure};
use model::{
    CgroupInfo, Counters, FlowTuple, GeoInfo, Port, ProcessContext, Program, Record, Sha256, Window,
};
use store::Writer;

use crate::random::Random;

/// Length of a window, seconds: the default of `log.write_limit_seconds`.
const WINDOW: i64 = 10;
const PROGRAMS: usize = 300;
const DOMAINS: usize = 20_000;
const DAY: i64 = 86_400;

/// Options of `cargo xtask gen-db`.
#[derive(clap::Args)]
pub struct Options {
    /// How many records to write
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// Days over which they are spread; the last window ends now
    #[arg(long, default_value_t = 365)]
    days: i64,
    /// The same seed makes the same records
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// About how many more command lines there are, each of one record
    #[arg(long, default_value_t = 0)]
    command_lines: u64,
    /// End of the last window, unix seconds [default: now]
    #[arg(long)]
    until: Option<i64>,
    /// The log to make; the file must not exist
    file: PathBuf,
}

/// Makes the log and prints how long the writer took.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(options.records > 0 && options.days > 0, "--records and --days must be positive");
    if options.file.exists() {
        bail!("{} exists; name a new file", options.file.display());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    let until = options.until.unwrap_or(now);
    let mut world = World::new(options.seed);
    let mut writer = Writer::open(&options.file)?;
    let first = until - options.days * DAY;
    let weight: f64 = (first + WINDOW..=until).step_by(WINDOW as usize).map(activity).sum();
    let (mut written, mut due, mut windows) = (0_u64, 0.0, 0_u64);
    let mut spent = Duration::ZERO;
    for time in (first + WINDOW..=until).step_by(WINDOW as usize) {
        due += activity(time) / weight * options.records as f64;
        // Records come in bursts: a window is written when enough are due for one.
        let burst = 1.0 + world.random.below(16) as f64;
        let whole =
            if time == until { options.records - written } else { (due - written as f64).max(0.0) as u64 };
        if (whole as f64) < burst && time != until {
            continue;
        }
        let records =
            (written..written + whole).map(|number| with_own_line(world.record(), number, options)).collect();
        let window = Window { time, records, ..Window::default() };
        let begin = Instant::now();
        writer.write(&window)?;
        spent += begin.elapsed();
        written += whole;
        windows += 1;
    }
    let begin = Instant::now();
    writer.checkpoint()?;
    spent += begin.elapsed();
    drop(writer);
    let bytes = std::fs::metadata(&options.file)?.len();
    println!(
        "{written} records in {windows} windows, {:.0} records/s in the writer, {} MB, {:.1} bytes a record",
        written as f64 / spent.as_secs_f64(),
        bytes / 1_000_000,
        bytes as f64 / written as f64,
    );
    let rate = writer_rate(&options.file, &mut world, until)?;
    println!("at that size, windows of 1,000 records: {rate:.0} records/s");
    Ok(ExitCode::SUCCESS)
}

/// Gives every so many records a command line that no other has.
fn with_own_line(mut record: Record, number: u64, options: &Options) -> Record {
    let every = options.records.checked_div(options.command_lines).unwrap_or(0).max(1);
    if options.command_lines > 0 && number.is_multiple_of(every) {
        let mut context = (*record.context).clone();
        let line = format!("\0--job\0{number}\0--output\0/var/tmp/job-{number}/result.json");
        context.program.command_line.extend_from_slice(line.as_bytes());
        record.context = Arc::new(context);
    }
    record
}

/// Writes more windows to a log of this size, 1,000 records each, and returns how many records a second it takes.
fn writer_rate(file: &std::path::Path, world: &mut World, until: i64) -> anyhow::Result<f64> {
    const WINDOWS: i64 = 100;
    let mut writer = Writer::open(file)?;
    let mut spent = Duration::ZERO;
    for number in 1..=WINDOWS {
        let time = until + number * WINDOW;
        let records = (0..1000).map(|_| world.record()).collect();
        let window = Window { time, records, ..Window::default() };
        let begin = Instant::now();
        writer.write(&window)?;
        spent += begin.elapsed();
    }
    writer.checkpoint()?;
    Ok(WINDOWS as f64 * 1000.0 / spent.as_secs_f64())
}

/// Relative number of records at a time of day: few at night, many in the evening.
fn activity(time: i64) -> f64 {
    match time.rem_euclid(DAY) / 3600 {
        0..=5 => 0.15,
        6..=8 => 0.7,
        9..=17 => 1.0,
        18..=22 => 1.8,
        _ => 0.6,
    }
}

/// A positive number, mostly small, now and then very large: the bytes of a connection (log-normal, sigma 2).
fn bytes(random: &mut Random, median: f64) -> u64 {
    let normal: f64 = (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
    (median * (normal * 2.0).exp()) as u64
}

/// Ranks by Zipf's law: the n-th is chosen in proportion to 1/n.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self(sums.collect())
    }

    fn choose(&self, random: &mut Random) -> usize {
        let last = self.0.last().copied().unwrap_or(0.0);
        let wanted = random.unit() * last;
        self.0.partition_point(|sum| *sum < wanted).min(self.0.len() - 1)
    }
}

/// The programs and domains of the synthetic records.
struct World {
    random: Random,
    /// For each program the contexts in which it runs.
    contexts: Vec<Vec<Arc<ProcessContext>>>,
    domains: Vec<(Vec<u8>, Vec<IpAddr>)>,
    programs: Zipf,
    all_domains: Zipf,
    some_domains: Zipf,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let contexts = (0..PROGRAMS).map(|number| contexts(&mut random, number)).collect();
        let domains = (0..DOMAINS).map(|number| domain(&mut random, number)).collect();
        Self {
            random,
            contexts,
            domains,
            programs: Zipf::new(PROGRAMS),
            all_domains: Zipf::new(DOMAINS),
            some_domains: Zipf::new(60),
        }
    }

    fn record(&mut self) -> Record {
        let random = &mut self.random;
        let program = self.programs.choose(random);
        let context = Arc::clone(random.pick(&self.contexts[program]));
        let local_port = 32_768 + random.below(28_232) as Port;
        let local = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 20));
        // A tenth of the records are DNS queries.
        if random.below(10) == 0 {
            let tuple = FlowTuple {
                family: 2,
                protocol: 17,
                local_address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST).into()),
                remote_address: Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)).into()),
                local_port,
                remote_port: 53,
                ..FlowTuple::default()
            };
            let counters =
                Counters { connections: 1, sent: 30 + random.below(40), received: 60 + random.below(300) };
            let geo = GeoInfo { country: "loopback".into(), ..GeoInfo::default() };
            return Record { context, geo, tuple, counters, opened: false, folded: 0 };
        }
        // The first programs are browsers and use all domains; others use 60 domains of their own.
        let chosen = if program < 4 {
            self.all_domains.choose(random)
        } else {
            (program * 61 + self.some_domains.choose(random)) % DOMAINS
        };
        const COUNTRIES: [&str; 8] = ["US", "US", "US", "IE", "DE", "NL", "SG", "JP"];
        let geo = GeoInfo {
            country: COUNTRIES[chosen % COUNTRIES.len()].into(),
            network_number: 64_496 + (chosen % 500) as u32,
            network: format!("Network {}", chosen % 500).into(),
        };
        let (name, addresses) = &self.domains[chosen];
        let remote = *random.pick(addresses);
        let remote_port = match random.below(100) {
            0..=79 => 443,
            80..=89 => 80,
            90..=93 => 22,
            94..=95 => 993,
            _ => 1024 + random.below(3000) as Port,
        };
        let tuple = FlowTuple {
            family: if remote.is_ipv6() { 10 } else { 2 },
            protocol: if random.below(5) == 0 { 17 } else { 6 },
            local_address: Some(if remote.is_ipv6() {
                Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 20).into()
            } else {
                local.into()
            }),
            remote_address: Some(remote.into()),
            local_port,
            remote_port,
            domain: name.clone(),
            ..FlowTuple::default()
        };
        let counters = Counters {
            // A long connection is in many windows but is counted in one.
            connections: u64::from(random.below(3) > 0),
            sent: bytes(random, 900.0),
            received: bytes(random, 6000.0),
        };
        Record { context, geo, tuple, counters, opened: false, folded: 0 }
    }
}

fn contexts(random: &mut Random, number: usize) -> Vec<Arc<ProcessContext>> {
    let program = |path: String, line: String| Program {
        name: path.rsplit('/').next().unwrap_or_default().as_bytes().iter().take(15).copied().collect(),
        sha256: Some(Sha256([number as u8; 32])),
        path: path.into_bytes(),
        command_line: line.into_bytes(),
    };
    let path = match number % 4 {
        0 => format!("/usr/bin/program-{number}"),
        1 => format!("/usr/lib/application-{number}/bin/application-{number}"),
        2 => format!("/opt/vendor/product-{number}/product"),
        _ => format!("/home/user/.local/bin/tool-{number}"),
    };
    let uid = match number % 10 {
        0..=6 => 1000,
        7 => 1001,
        8 => 0,
        _ => 100 + number as u32,
    };
    (0..1 + random.below(12))
        .map(|profile| {
            let mut own = program(path.clone(), format!("{path} --profile={profile} --verbose"));
            // An update of the program changes its digest.
            own.sha256 = Some(Sha256([number as u8 ^ (profile % 3) as u8; 32]));
            Arc::new(ProcessContext {
                program: own,
                parent: program(format!("/usr/bin/shell-{}", number % 9), format!("shell-{}", number % 9)),
                grandparent: program(
                    "/usr/lib/systemd/systemd".into(),
                    "/usr/lib/systemd/systemd --user".into(),
                ),
                uid,
                network_namespace: 4_026_531_840 + (number % 5 == 4) as u32,
                cgroup: CgroupInfo {
                    path: format!("/user.slice/user-{uid}.slice/app.slice/app-{number}.scope").into_bytes(),
                    unit: format!("app-{number}.scope").into_bytes(),
                    container: if number % 10 == 3 {
                        format!("docker web-{number}").into_bytes()
                    } else {
                        Vec::new()
                    },
                    app: format!("org.example.App{number}").into_bytes(),
                },
            })
        })
        .collect()
}

fn domain(random: &mut Random, number: usize) -> (Vec<u8>, Vec<IpAddr>) {
    let name = format!("host-{number}.service-{}.example.com", number % 700);
    let addresses = (0..1 + random.below(3)).map(|_| {
        if random.below(4) == 0 {
            let low = random.next();
            IpAddr::V6(Ipv6Addr::new(
                0x2001,
                0xdb8,
                (low >> 32) as u16,
                0,
                0,
                0,
                (low >> 16) as u16,
                low as u16,
            ))
        } else {
            IpAddr::V4(Ipv4Addr::from(random.next() as u32 | 0x0100_0000))
        }
    });
    (name.into_bytes(), addresses.collect())
}
