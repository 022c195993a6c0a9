//! The page of the system service: it leaves its address in a file for those who may read the log.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

/// The runtime directory of the unit `picosnitch-dash`.
const RUNTIME_DIRECTORY: &str = "/run/picosnitch-dash";
/// The address for people, and the token alone for programs (Prometheus reads it from a file).
const ADDRESS_FILE: &str = "address";
const TOKEN_FILE: &str = "token";
/// The file has one line.
const MAX_BYTES: usize = 512;

/// Writes the address for [`url`] and the token, if this is the service: systemd names its runtime directory in the environment. The group of
/// the service may read it.
///
/// # Errors
/// A file cannot be written.
pub(super) fn publish(url: &str) -> anyhow::Result<bool> {
    let Some(directory) = env::var_os("RUNTIME_DIRECTORY").filter(|value| !value.is_empty()) else {
        return Ok(false);
    };
    let token = url.split_once("#token=").map_or("", |(_, token)| token);
    for (name, text) in [(ADDRESS_FILE, url), (TOKEN_FILE, token)] {
        let path = PathBuf::from(&directory).join(name);
        write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(true)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    writeln!(file, "{text}")
}

/// The address of the page that the service serves.
///
/// # Errors
/// It does not run, may not be opened by this user, or somebody else's server is in its place.
pub(super) fn url() -> anyhow::Result<String> {
    let path = Path::new(RUNTIME_DIRECTORY).join(ADDRESS_FILE);
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!(
            "the service does not run; start it with `sudo systemctl start picosnitch-dash`, or serve a page of your own with \
             `picosnitch dash`"
        ),
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "only root and members of the group picosnitch may open this page: `sudo usermod -aG picosnitch $USER`, and log in \
             again"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot read {}", path.display())),
    })?;
    let url = text.trim();
    let port = url.strip_prefix("http://localhost:").and_then(|rest| rest.split('/').next());
    let port = port.and_then(|port| port.parse().ok()).filter(|_| text.len() <= MAX_BYTES);
    let port = port.with_context(|| format!("{} has no address of a page", path.display()))?;
    // The service may have ended, and another user's server may be there now, waiting for the token.
    let owner = fs::metadata(&path)?.uid();
    ensure!(
        web::owner_of_listener(port) == Some(owner),
        "the service that wrote {} does not serve port {port} any more; restart it with `sudo systemctl restart picosnitch-dash`",
        path.display()
    );
    Ok(url.to_owned())
}
