//! `picosnitch dash`: serves the web page. Exit codes: 0, 1 for an error; after a signal as everywhere.

mod browser;
mod service;

use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, ExitCode},
    thread,
};

use anyhow::{Context, bail};
use config::{Config, Log, Web, layout::Layout};

use super::{common::Common, output::print, source::SourceOptions};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use server_query::LogSource;
use system_names::Users;
use web::{PermittedUsers, Server, Settings, WebError};

#[derive(clap::Args)]
#[command(
    after_help = "The page shows what `query` and `top` do. It is served on http://localhost:5100; PICOSNITCH_HOST and \
    PICOSNITCH_PORT (or HOST and PORT) in the environment change that. The printed address has a secret token: only a \
    program that shows it, of root, the user of this command or a member of the group of the log, can read. With --source it shows another \
    log, or a server with its hosts; live traffic and Health are then those of the machines themselves and not shown. From another machine: \
    ssh -L 5100:localhost:5100 HOST, then open the printed address there."
)]
pub struct Options {
    #[command(flatten)]
    source: SourceOptions,
    /// Open the page that the system service serves (unit picosnitch-dash) in the browser, and serve none
    #[arg(long, conflicts_with_all = ["no_auth", "static_dir", "hash_password", "source"])]
    open: bool,
    /// Open no browser; print the address only
    #[arg(long)]
    no_browser: bool,
    /// Let every user of this machine read, without a token
    #[arg(long)]
    no_auth: bool,
    /// Ask for a password and print its hash, for web.password_hash in the configuration
    #[arg(long, conflicts_with_all = ["open", "no_auth"])]
    hash_password: bool,
    /// Make a certificate for this machine in this directory, for web.certificate and web.key in the configuration
    #[arg(long, value_name = "DIR", conflicts_with_all = ["open", "no_auth", "hash_password"])]
    make_certificate: Option<PathBuf>,
    /// Serve the files of the page from this directory, for work on it
    #[arg(long, value_name = "DIR", hide = true)]
    static_dir: Option<PathBuf>,
}

pub fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    if options.hash_password {
        return hash_password();
    }
    let layout = common.layout();
    if let Some(directory) = &options.make_certificate {
        return make_certificate(&layout, directory);
    }
    if options.open {
        let url = service::url()?;
        return open(&url, options).map(|_| ExitCode::SUCCESS);
    }
    sandbox::close_inherited();
    let source = options.source.read(common)?;
    let users = if options.no_auth { None } else { Some(permitted_users(&source)) };
    let (web, log) = sections(&layout)?;
    let mut settings = Settings::new(layout.clone(), &web, users)?;
    if !options.source.is_own_log() {
        settings.show(source.clone());
    }
    settings.static_directory.clone_from(&options.static_dir);
    settings.log = log;
    let server = Server::start(settings).map_err(explain)?;
    let url = server.url();
    let browser = match service::publish(&url)? {
        // The journal is read by others than the page.
        true => {
            print("The page is served. Open it with: picosnitch dash --open\n")?;
            None
        }
        false => open(&url, options)?,
    };
    give_up_rights(&layout, &source, options)?;
    if let Some(mut browser) = browser {
        // Where there is no room for a thread, its process stays a zombie.
        let _ = thread::Builder::new().name("browser".to_owned()).spawn(move || browser.wait());
    }
    server.run()?;
    Ok(ExitCode::SUCCESS)
}

/// Gives up all rights but to read what the page shows. There is one thread only until here.
fn give_up_rights(layout: &Layout, source: &LogSource, options: &Options) -> anyhow::Result<()> {
    let files = [Some(&layout.config), layout.config_json.as_ref()];
    let mut readable: Vec<&Path> = files.into_iter().flatten().filter_map(|file| file.parent()).collect();
    let static_directory = options.static_dir.as_deref().map(std::path::absolute).transpose()?;
    readable.extend(static_directory.as_deref());
    let socket = layout.run_dir.join(live::SOCKET_NAME);
    let (database, server_port) = match source {
        LogSource::Log(path) => (std::path::absolute(path)?, None),
        LogSource::Server(server) => (layout.database.clone(), Some(server.port)),
    };
    sandbox::WebServer { database: &database, socket: &socket, readable: &readable, server_port }
        .enter()
        .context("cannot give up the rights that the page does not need")
}

/// Prints the address, and opens it if there is a browser, whose process is returned.
fn open(url: &str, options: &Options) -> anyhow::Result<Option<Child>> {
    print(&format!("{url}\n"))?;
    if options.no_auth {
        eprintln!("picosnitch: every user of this machine can read what this page shows (--no-auth)");
    }
    Ok(if options.no_browser { None } else { browser::open(url) })
}

/// A variable of the environment, by the name of ours or the shorter one of the original.
fn variable(name: &str) -> Option<(String, OsString)> {
    let names = [format!("PICOSNITCH_{name}"), name.to_owned()];
    names.into_iter().find_map(|name| {
        let value = env::var_os(&name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}

/// The section `[web]` of the configuration, and what the environment says instead; and the section `[log]`, if it can be read.
///
/// # Errors
/// A variable has no host or port.
fn sections(layout: &Layout) -> anyhow::Result<(Web, Option<Log>)> {
    let (mut web, log) = match Config::load(layout) {
        Ok(loaded) => (loaded.config.web, Some(loaded.config.log)),
        Err(error) => {
            // The defaults are the safest.
            eprintln!("picosnitch: the section [web] of the configuration is not used: {error}");
            (Web::default(), None)
        }
    };
    if let Some((name, value)) = variable("HOST") {
        let host = value.to_string_lossy().into_owned();
        let is_host = host == "localhost" || host.parse::<IpAddr>().is_ok();
        // Some shells keep the name of the machine in HOST.
        if is_host || name != "HOST" {
            web.host = host;
        }
    }
    if let Some((name, value)) = variable("PORT") {
        let port = value.to_str().and_then(|value| value.parse().ok()).filter(|port| *port > 0);
        web.port = port.with_context(|| format!("{name} is no port: it is a number from 1 to 65535"))?;
    }
    Ok((web, log))
}

/// The users who may read: root, the user of this command, the user who called sudo, and those in the group of the log.
fn permitted_users(source: &LogSource) -> PermittedUsers {
    let mut users = vec![0, nix::unistd::geteuid().as_raw()];
    users.extend(browser::sudo_user());
    match source {
        LogSource::Log(path) => PermittedUsers::new(users, path),
        LogSource::Server(_) => PermittedUsers::only(users),
    }
}

/// Adds what to do to an error of the server.
fn explain(error: WebError) -> anyhow::Error {
    let WebError::Bind { address, source } = &error else { return error.into() };
    match source.kind() {
        ErrorKind::AddrInUse => taken(*address),
        ErrorKind::PermissionDenied => anyhow::anyhow!(
            "port {} is for root only; choose another one from 1024 on, for example PORT=5100",
            address.port()
        ),
        ErrorKind::AddrNotAvailable => {
            anyhow::anyhow!("{} is no address of this machine; use localhost", address.ip())
        }
        _ => error.into(),
    }
}

/// The port belongs to somebody else, whose page must not be taken for ours.
fn taken(address: SocketAddr) -> anyhow::Error {
    let port = address.port();
    let whose = match web::owner_of_listener(port) {
        Some(uid) if uid == nix::unistd::geteuid().as_raw() => "another program of yours".to_owned(),
        Some(uid) => match Users::load().name(uid.into()) {
            Some(name) => format!("a program of the user {}", model::text::sanitize::message(name)),
            None => format!("a program of the user {uid}"),
        },
        None => "another program".to_owned(),
    };
    anyhow::anyhow!(
        "port {port} is taken by {whose}: if that is picosnitch, its page is open already; if not, do not enter anything there. \
         Choose another port, for example: PORT={} picosnitch dash",
        port.checked_add(1).unwrap_or(5100)
    )
}

/// Makes a certificate for the names of this machine.
fn make_certificate(layout: &Layout, directory: &Path) -> anyhow::Result<ExitCode> {
    let (web, _) = sections(layout)?;
    let own_name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    let mut names = vec!["localhost".to_owned()];
    names.extend(own_name);
    names
        .extend([web.host_name, web.host].into_iter().filter(|name| !name.is_empty() && name != "localhost"));
    let made = web::make_certificate(&std::path::absolute(directory)?, names.clone())?;
    print(&format!(
        "A certificate for {}, whose SHA-256 fingerprint is {}: compare it with what the browser shows.\n\n[web]\ncertificate = \
         \"{}\"\nkey = \"{}\"\n",
        names.join(", "),
        made.fingerprint,
        made.certificate.display(),
        made.key.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a password from the terminal or from standard input, and prints its hash.
fn hash_password() -> anyhow::Result<ExitCode> {
    eprintln!("Type the password for the page, at least {} characters, and Enter:", web::MIN_PASSWORD_LENGTH);
    let mut password = String::new();
    {
        let _hidden = HiddenTyping::start();
        io::stdin().read_line(&mut password).context("the password cannot be read")?;
    }
    let password = password.trim_end_matches(['\n', '\r']);
    if password.chars().count() < web::MIN_PASSWORD_LENGTH {
        bail!("the password is too short: use at least {} characters", web::MIN_PASSWORD_LENGTH);
    }
    let hash =
        web::hash_password(password).map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?;
    print(&format!("[web]\npassword_hash = \"{hash}\"\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The terminal does not show what is typed, until this is dropped.
struct HiddenTyping(Option<Termios>);

impl HiddenTyping {
    fn start() -> Self {
        let Ok(before) = tcgetattr(io::stdin()) else { return Self(None) };
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        match tcsetattr(io::stdin(), SetArg::TCSANOW, &hidden) {
            Ok(()) => Self(Some(before)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for HiddenTyping {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
