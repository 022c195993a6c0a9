//! Events for other tools, as the exporter's unit sends them: a credential of systemd, the journal, and the socket of syslog.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use super::{
    guest::Guest,
    package_steps,
    unit::{self, PATIENCE, UNIT, output, succeed, wait_until_recording},
};

const EXPORTER: &str = "picosnitch-exporter.service";
/// What an administrator adds to the exporter's unit.
const DROP_IN: &str = "/etc/systemd/system/picosnitch-exporter.service.d/credential.conf";
/// The file of the token, which only root may read.
const TOKEN_FILE: &str = "/etc/picosnitch/hook.token";
const TOKEN: &str = "token-of-root";

/// Configures a web server, the journal and the local syslog as receivers, and waits until each has an event.
pub fn receivers(guest: &mut Guest) -> anyhow::Result<String> {
    let port = guest.ports(1);
    let heads = serve(port)?;
    fs::write(TOKEN_FILE, format!("{TOKEN}\n")).context("cannot write the token")?;
    fs::set_permissions(TOKEN_FILE, fs::Permissions::from_mode(0o600))?;
    fs::create_dir_all(Path::new(DROP_IN).parent().context("no directory")?)?;
    fs::write(DROP_IN, format!("[Service]\nLoadCredential=export.hook.token:{TOKEN_FILE}\n"))?;
    let more = "kinds = [\"start\"]\nbackfill = true\n";
    package_steps::write_configuration(&format!(
        "[export.hook]\nclient = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\n{more}\
         [export.journal]\nclient = \"journald\"\n{more}\
         [export.local]\nclient = \"syslog\"\ntransport = \"local\"\n{more}"
    ))?;
    succeed("systemctl", &["daemon-reload"])?;
    let seen = restart(guest).and_then(|()| look(&heads));
    // The other steps have the configuration of before.
    package_steps::write_configuration("")?;
    fs::remove_file(DROP_IN)?;
    succeed("systemctl", &["daemon-reload"])?;
    restart(guest)?;
    seen
}

fn restart(guest: &Guest) -> anyhow::Result<()> {
    let old = unit::main_process()?;
    succeed("systemctl", &["restart", UNIT])?;
    wait_until_recording(&guest.log, Some(old)).map(drop)
}

/// Waits for the three messages.
fn look(heads: &Arc<Mutex<Vec<String>>>) -> anyhow::Result<String> {
    let requests = || heads.lock().unwrap_or_else(PoisonError::into_inner).clone();
    wait_for("a request with the token", || {
        requests().iter().any(|head| head.contains(&format!("authorization: bearer {TOKEN}"))).then_some(())
    })?;
    // The fields with an underscore are journald's: nobody can make them up.
    let exporter = format!("_SYSTEMD_UNIT={EXPORTER}");
    let journal = |condition: &str| -> anyhow::Result<String> {
        let arguments = ["-o", "json", "--no-pager", &exporter, condition];
        Ok(String::from_utf8_lossy(&output("journalctl", &arguments)?.stdout).into_owned())
    };
    let entries = wait_for("an entry with fields", || {
        journal("PICOSNITCH_KIND=start").ok().filter(|text| !text.is_empty())
    })?;
    let entry: serde_json::Value = serde_json::from_str(entries.lines().next().unwrap_or_default())?;
    ensure!(entry["PICOSNITCH_ID"].as_str().is_some_and(|id| id.contains("/event/")), "the entry is {entry}");
    let user = succeed("id", &["-u", "picosnitch"])?;
    ensure!(entry["_UID"] == user.trim(), "the entry is of another user: {entry}");
    wait_for("a message of syslog", || {
        let text = journal("_TRANSPORT=syslog").ok()?;
        text.lines().any(|line| line.contains("@cee:") && line.contains("start")).then_some(())
    })?;
    Ok(format!(
        "{} requests with the credential, {} entries with fields, and messages of syslog",
        requests().len(),
        entries.lines().count()
    ))
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if begin.elapsed() > PATIENCE {
            let journal = output("journalctl", &["--no-pager", "--unit", EXPORTER, "--lines", "30"])?;
            anyhow::bail!("{what} does not come: {}", String::from_utf8_lossy(&journal.stdout));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// A web server that takes everything, and keeps the heads of requests in small letters.
fn serve(port: u16) -> anyhow::Result<Arc<Mutex<Vec<String>>>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).context("the port of the web server")?;
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&heads);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
            if reader.read_exact(&mut body).is_ok() {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(head);
                let _ = reader
                    .get_mut()
                    .write_all(b"HTTP/1.1 204 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        }
    });
    Ok(heads)
}
