//! Measures the cost of `picosnitch top` while thousands of connections are open and move bytes.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::recorder::{Recorder, cpu_seconds};

/// Rows of `top`: both ends of half as many connections.
const CONNECTIONS: usize = 5000;
/// Each connection moves something once in this time.
const ROUND: Duration = Duration::from_millis(500);
/// Limits: percent of a core, milliseconds.
const MAX_CPU: f64 = 5.0;
const LONGEST_FRAME: f64 = 60.0;
/// Columns and lines of the terminals.
const SIZES: [(u16, u16); 2] = [(80, 24), (300, 90)];

/// Opens the connections, and shows them in terminals of two sizes.
pub fn top(binary: &Path, seconds: u64) -> anyhow::Result<Vec<Value>> {
    raise_descriptor_limit()?;
    let recorder = Recorder::start(binary)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to = listener.local_addr()?;
    let mut pairs = Vec::new();
    for _ in 0..CONNECTIONS / 2 {
        let client = TcpStream::connect(to)?;
        pairs.push((client, listener.accept()?.0));
    }
    let mut results = Vec::new();
    for (columns, lines) in SIZES {
        let terminal = Terminal::start(binary, &recorder.directory, columns, lines)?;
        exchange(&mut pairs, Duration::from_secs(2))?;
        let (begin, before, roles) =
            (Instant::now(), cpu_seconds(terminal.process)?, recorder.cpu_seconds()?);
        exchange(&mut pairs, Duration::from_secs(seconds))?;
        let share = |used: f64| used / begin.elapsed().as_secs_f64() * 100.0;
        let (used, by_roles) =
            (share(cpu_seconds(terminal.process)? - before), share(recorder.cpu_seconds()? - roles));
        let screen = terminal.screen()?;
        // Other programs may have some, too.
        let words: Vec<&str> = screen.split_whitespace().collect();
        let shown =
            words.windows(2).find(|pair| pair[1] == "connections").and_then(|pair| pair[0].parse().ok());
        if shown.is_none_or(|shown: usize| shown < CONNECTIONS) {
            bail!("not all of the connections are on the screen:\n{screen}");
        }
        let (frames, longest) = terminal.quit()?;
        let name = format!("top with {CONNECTIONS} live connections, {columns}x{lines}");
        results.push(json!({
            "name": name, "unit": "% of a core", "with": used, "limit": MAX_CPU, "within": used <= MAX_CPU,
        }));
        results.push(json!({
            "name": format!("the longest of {frames} frames, {columns}x{lines}"), "unit": "ms", "with": longest,
            "limit": LONGEST_FRAME, "within": longest <= LONGEST_FRAME,
        }));
        results
            .push(json!({"name": "recording meanwhile, all roles", "unit": "% of a core", "with": by_roles}));
    }
    drop(pairs);
    recorder.stop()?;
    Ok(results)
}

/// Each connection moves bytes both ways, in rounds.
fn exchange(pairs: &mut [(TcpStream, TcpStream)], time: Duration) -> io::Result<()> {
    let begin = Instant::now();
    let mut buffer = [0; 256];
    while begin.elapsed() < time {
        let round = Instant::now();
        for (client, server) in &mut *pairs {
            client.write_all(&buffer[..100])?;
            server.read_exact(&mut buffer[..100])?;
            server.write_all(&buffer[..200])?;
            client.read_exact(&mut buffer[..200])?;
        }
        thread::sleep(ROUND.saturating_sub(round.elapsed()));
    }
    Ok(())
}

fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: valid pointers to a structure of this type.
    let result = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `top` in a terminal of a tmux server of its own.
struct Terminal {
    server: String,
    process: u32,
    /// Where it writes what its frames took.
    figures: PathBuf,
}

impl Terminal {
    fn start(binary: &Path, directory: &Path, columns: u16, lines: u16) -> anyhow::Result<Self> {
        let server = format!("picosnitch-bench-{}-{columns}", std::process::id());
        let figures = directory.join(format!("figures-{columns}.json"));
        let _ = fs::remove_file(&figures);
        let mut terminal = Self { server, process: 0, figures };
        let (binary, figures) = (binary.canonicalize()?, terminal.figures.clone());
        let top = format!(
            "exec env -u NO_COLOR LC_ALL=C.UTF-8 COLORTERM=truecolor {} --base-dir {} top --figures {}",
            binary.display(),
            directory.display(),
            figures.display()
        );
        let (columns, lines) = (columns.to_string(), lines.to_string());
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &lines,
            "sleep 100000",
        ])?;
        terminal.tmux(&["set-option", "-g", "remain-on-exit", "on"])?;
        terminal.tmux(&["respawn-pane", "-k", &top])?;
        terminal.process = terminal.tmux(&["display", "-p", "#{pane_pid}"])?.trim().parse()?;
        terminal.wait_for("is recording since")?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("tmux")
            .args(["-u", "-L", &self.server])
            .args(arguments)
            .output()
            .context("tmux is needed (Debian package tmux)")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn screen(&self) -> anyhow::Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    fn wait_for(&self, text: &str) -> anyhow::Result<String> {
        let begin = Instant::now();
        loop {
            let screen = self.screen()?;
            if screen.contains(text) {
                return Ok(screen);
            }
            if begin.elapsed() > Duration::from_secs(20) {
                bail!("{text:?} does not come to the screen:\n{screen}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it; how many frames it drew, and how long the longest took, milliseconds.
    fn quit(self) -> anyhow::Result<(u64, f64)> {
        self.tmux(&["send-keys", "q"])?;
        let begin = Instant::now();
        let text = loop {
            match fs::read_to_string(&self.figures) {
                Ok(text) if !text.is_empty() => break text,
                _ if begin.elapsed() < Duration::from_secs(20) => thread::sleep(Duration::from_millis(50)),
                _ => bail!("top does not end"),
            }
        };
        let figures: Value = serde_json::from_str(&text)?;
        let frames = figures["frames"].as_u64().context("no figures")?;
        let longest = figures["longest_milliseconds"].as_f64().context("no figures")?;
        Ok((frames, longest))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}
