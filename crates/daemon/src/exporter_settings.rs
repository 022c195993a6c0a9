//! The settings of the exporter, as they follow from the configuration.

use std::{
    env, fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use config::{Config, ForwardSection, Secret, SqlServer, layout::Layout};
use export::{ClientCertificate, ServerSettings};
use exporter::LogCopies;
use forward::Target;

/// Bytes of a file of a password, a certificate or a key. All of them go through a channel that carries 64 KiB.
const MAX_FILE_BYTES: u64 = 16 * 1024;
/// The directory of systemd's credentials (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The settings of the exporter of a daemon.
pub fn exporter_settings(layout: &Layout, config: &Config) -> exporter::Settings {
    let virustotal = (!config.virustotal.api_key.0.is_empty()).then(|| virustotal::Settings {
        url: config.virustotal.url.clone(),
        key: config.virustotal.api_key.0.clone(),
        upload: config.virustotal.file_upload,
        request_limit_seconds: config.virustotal.request_limit_seconds,
    });
    let copies = log_copies(layout, config);
    exporter::Settings::new(virustotal, config.names.reverse_dns, copies, &layout.run_dir)
}

/// The copies of the log that are to be made.
fn log_copies(layout: &Layout, config: &Config) -> LogCopies {
    let mut copies = LogCopies {
        log: layout.database.as_os_str().as_encoded_bytes().to_vec(),
        host: nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|_| "localhost".to_owned()),
        ..LogCopies::default()
    };
    // What a server gets is read from the log.
    for (name, server) in config.servers().filter(|_| config.log.sqlite) {
        match server_settings(&name, server) {
            Ok(settings) => copies.servers.push(settings),
            Err(why) => {
                copies.problems.push(format!("{name} gets no copy of the log until the next start: {why}."))
            }
        }
    }
    for (name, section) in config.forwards().filter(|_| config.log.sqlite) {
        match forward_target(&name, section) {
            Ok(target) => copies.targets.push(target),
            Err(why) => copies.problems.push(format!("{name} gets no events until the next start: {why}.")),
        }
    }
    copies
}

/// The receiver of a section, with its secrets; a sentence about a file that cannot be read.
fn forward_target(name: &str, section: &ForwardSection) -> Result<Target, String> {
    Ok(Target {
        name: name.to_owned(),
        section: section.clone(),
        authority: section.ca.as_deref().map(read).transpose()?.unwrap_or_default(),
        token: secret(&format!("{name}.token"), &section.token, section.token_file.as_deref())?,
    })
}

/// The settings of the server of a section, with its secrets.
///
/// # Errors
/// A sentence about a file that cannot be read.
pub fn server_settings(name: &str, server: &SqlServer) -> Result<ServerSettings, String> {
    let file = |path: &Option<std::path::PathBuf>| path.as_deref().map(read).transpose();
    let client_certificate = match (file(&server.certificate)?, file(&server.key)?) {
        (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
        _ => None,
    };
    Ok(ServerSettings {
        password: secret(&format!("{name}.password"), &server.password, server.password_file.as_deref())?,
        authority: file(&server.ca)?.unwrap_or_default(),
        client_certificate,
        ..server_address(name, server)
    })
}

/// The settings of the server of a section, without its secrets.
pub fn server_address(name: &str, server: &SqlServer) -> ServerSettings {
    ServerSettings {
        name: name.to_owned(),
        kind: server.client,
        host: server.host.clone(),
        port: server.port,
        user: server.user.clone(),
        password: String::new(),
        database: server.database.clone(),
        view: server.table_name.clone(),
        tls: server.tls,
        authority: String::new(),
        client_certificate: None,
        backfill: server.backfill,
        asks_sums: true,
    }
}

/// A secret: that of the configuration, systemd's credential of this name, or that of its file.
fn secret(credential: &str, secret: &Secret, file: Option<&Path>) -> Result<String, String> {
    if !secret.0.is_empty() {
        return Ok(secret.0.clone());
    }
    let credential = env::var_os(CREDENTIALS)
        .map(|directory| Path::new(&directory).join(credential))
        .filter(|path| path.exists());
    let Some(path) = credential.as_deref().or(file) else { return Ok(String::new()) };
    let text = read(path)?;
    // Editors end files with a line feed.
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn read(path: &Path) -> Result<String, String> {
    let read = || -> io::Result<String> {
        let file =
            fs::File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut text = String::new();
        if file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)? as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other("it has more than 16 KiB"));
        }
        Ok(text)
    };
    read().map_err(|error| format!("{} cannot be read ({error})", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(text: &str) -> LogCopies {
        log_copies(&Layout::new(Some(Path::new("/base")), None), &Config::from_toml(text).unwrap())
    }

    #[test]
    fn a_token_comes_from_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        fs::write(&token, "abc\n").unwrap();
        let section = |path: &Path| {
            format!("client = \"webhook\"\nurl = \"https://h/\"\ntoken_file = \"{}\"\n", path.display())
        };
        let missing = directory.path().join("missing");
        let found = copies(&format!("[export.a]\n{}[export.b]\n{}", section(&token), section(&missing)));
        let [target] = &found.targets[..] else { panic!("{:?}", found.problems) };
        assert_eq!(
            (target.name.as_str(), target.token.as_str(), target.port()),
            ("export.a", "abc", Some(443))
        );
        assert!(found.problems[0].starts_with("export.b gets no events"), "{:?}", found.problems);
    }

    #[test]
    fn secrets_come_from_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let [password, missing] = ["password", "missing"].map(|name| directory.path().join(name));
        fs::write(&password, "a b\n").unwrap();
        let section = |path: &Path| {
            let path = path.display();
            format!("client = \"postgresql\"\nuser = \"u\"\ndatabase = \"d\"\npassword_file = \"{path}\"\n")
        };
        let text = format!(
            "[log.server]\n{}ca = \"{}\"\n[export.b]\n{}",
            section(&password),
            password.display(),
            section(&missing)
        );
        let found = copies(&text);
        let [server] = &found.servers[..] else { panic!("{:?}", found.problems) };
        assert_eq!((server.name.as_str(), server.password.as_str()), ("log.server", "a b"));
        assert_eq!(server.authority, "a b\n");
        let [problem] = &found.problems[..] else { panic!("{:?}", found.problems) };
        assert!(problem.starts_with("export.b gets no copy") && problem.contains("missing"), "{problem}");
        assert_eq!(found.log, b"/base/snitch.db");
        fs::write(&password, "x".repeat(20_000)).unwrap();
        assert!(copies(&text).problems[0].contains("16 KiB"));
        assert!(copies(&format!("[log]\nsqlite = false\n{text}")).is_empty());
    }
}
