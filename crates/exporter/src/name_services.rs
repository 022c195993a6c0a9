//! The modules with which the C library looks up hosts. It loads them at the first look-up; the exporter cannot load code by then.

use std::{ffi::CString, fs};

/// How the C library looks up what (nsswitch.conf(5)).
const CONFIGURATION: &str = "/etc/nsswitch.conf";
/// What glibc uses without that file, and what it uses besides.
const DEFAULT: [&str; 2] = ["files", "dns"];
const MAX_MODULES: usize = 16;

/// Loads the modules for hosts, as far as they are there: a newer glibc has the two usual ones in itself.
pub(crate) fn load() {
    let configuration = fs::read_to_string(CONFIGURATION).unwrap_or_default();
    for name in DEFAULT.into_iter().chain(modules(&configuration)) {
        let Ok(library) = CString::new(format!("libnss_{name}.so.2")) else { continue };
        // SAFETY: the C library would load the same module itself at the first look-up.
        unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) };
    }
}

/// The modules of the line `hosts`.
fn modules(configuration: &str) -> impl Iterator<Item = &str> {
    let line = configuration.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"));
    let line = line.unwrap_or_default().split('#').next().unwrap_or_default();
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    line.split_whitespace().filter(is_name).take(MAX_MODULES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_of_hosts_are_found() {
        let text = "passwd: files\n hosts:  files mdns4_minimal [NOTFOUND=return] dns ../x # comment\nnetworks: files\n";
        assert_eq!(modules(text).collect::<Vec<_>>(), ["files", "mdns4_minimal", "dns"]);
        assert_eq!(modules("").count(), 0);
        load();
    }
}
