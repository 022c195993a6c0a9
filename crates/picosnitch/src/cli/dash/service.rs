//! The page of the system service: it leaves its address in a file for the users who may read the log.

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

/// The directory that systemd has made for the service, where this process is the service.
fn runtime_directory() -> Option<PathBuf> {
    env::var_os("RUNTIME_DIRECTORY").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Writes the address for [`url`] and the token, if this is the service: systemd names its runtime directory in the environment. The group of
/// the service may read it.
///
/// # Errors
/// A file cannot be written.
pub(super) fn publish(url: &str) -> anyhow::Result<bool> {
    let Some(directory) = runtime_directory() else { return Ok(false) };
    let token = url.split_once("#token=").map(|(_, token)| (TOKEN_FILE, token));
    for (name, text) in [(ADDRESS_FILE, url)].into_iter().chain(token) {
        let path = directory.join(name);
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
    let path = runtime_directory().unwrap_or(RUNTIME_DIRECTORY.into()).join(ADDRESS_FILE);
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
    let port = port(url).filter(|_| text.len() <= MAX_BYTES);
    let port = port.with_context(|| format!("{} has no address of a page", path.display()))?;
    // The service may have ended, and another user's server may be there now, waiting for the token.
    let owner = fs::metadata(&path)?.uid();
    let owners = web::owners_of_listeners(port);
    ensure!(
        !owners.is_empty() && owners.iter().all(|found| *found == owner),
        "the service that wrote {} does not serve port {port} any more; restart it with `sudo systemctl restart picosnitch-dash`",
        path.display()
    );
    Ok(url.to_owned())
}

/// The port in the address of a page.
fn port(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, port) = rest.split('/').next()?.rsplit_once(':')?;
    let is_page = matches!(scheme, "http" | "https") && !host.is_empty() && !url.contains(char::is_control);
    port.parse().ok().filter(|port| is_page && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::port;

    #[test]
    fn the_port_of_every_address_is_read() {
        for url in [
            "http://localhost:5100/#token=ab",
            "http://127.0.0.1:5100/#token=a:1/b",
            "http://[::1]:5100/",
            "https://snitch.example:5100/",
        ] {
            assert_eq!(port(url), Some(5100), "{url}");
        }
        for url in
            ["", "localhost:5100", "file:///tmp:5100", "http://:5100/", "http://localhost/", "http://a:0/"]
        {
            assert_eq!(port(url), None, "{url}");
        }
    }
}
