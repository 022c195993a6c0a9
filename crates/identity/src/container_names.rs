//! Looks up the names of containers in the files of their engines.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::cgroup_path::Container;
use model::Bytes;

/// Names that are kept; with more, all are looked up again.
const MAX_NAMES: usize = 4096;
/// Bytes that are read of a file: docker's are some kilobytes, podman has one list of all containers.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Entries that are read of a directory.
const MAX_ENTRIES: usize = 20_000;
/// Bytes of a name; docker and podman allow 64 or so, a pod with its namespace up to 400.
const MAX_NAME_BYTES: usize = 512;

/// The names of containers that were looked up so far.
#[derive(Debug)]
pub struct ContainerNames {
    root: PathBuf,
    /// By the id of the container; `None` for one without a name.
    names: HashMap<Bytes, Option<Bytes>>,
}

/// The part of docker's `config.v2.json` that is read.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Name")]
    name: String,
}

/// The part of an entry of podman's `containers.json` that is read.
#[derive(Deserialize)]
struct PodmanContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

impl ContainerNames {
    /// Names are looked up below `root`, which is `/` except in tests.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), names: HashMap::new() }
    }

    /// The name of a container, if its engine keeps it in a file of root. Files of other users are not read: they may block
    /// the caller, or contain anything.
    pub fn name(&mut self, container: &Container) -> Option<Bytes> {
        if !container.has_id() {
            return None;
        }
        if let Some(name) = self.names.get(&container.id) {
            return name.clone();
        }
        let id = std::str::from_utf8(&container.id).ok()?;
        let name = match container.engine {
            "docker" => self.docker(id),
            "podman" => self.podman(id),
            _ => self.kubernetes(id),
        };
        let name = name.filter(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES);
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.insert(container.id.clone(), name.clone());
        name
    }

    fn docker(&self, id: &str) -> Option<Bytes> {
        ["var/lib/docker", "var/snap/docker/common/var-lib-docker"].iter().find_map(|data| {
            let text = read(&self.root.join(data).join("containers").join(id).join("config.v2.json")).ok()?;
            let found: DockerConfig = serde_json::from_slice(&text).ok()?;
            Some(found.name.trim_start_matches('/').as_bytes().to_vec())
        })
    }

    fn podman(&self, id: &str) -> Option<Bytes> {
        ["overlay-containers", "vfs-containers", "btrfs-containers"].iter().find_map(|driver| {
            let list = self.root.join("var/lib/containers/storage").join(driver).join("containers.json");
            let found: Vec<PodmanContainer> = serde_json::from_slice(&read(&list).ok()?).ok()?;
            let own = found.into_iter().find(|container| container.id == id)?;
            Some(own.names.first()?.as_bytes().to_vec())
        })
    }

    /// The kubelet links `POD_NAMESPACE_CONTAINER-ID.log` for each container of a pod.
    fn kubernetes(&self, id: &str) -> Option<Bytes> {
        let end = format!("-{id}.log");
        let entries = fs::read_dir(self.root.join("var/log/containers")).ok()?;
        entries.flatten().take(MAX_ENTRIES).find_map(|entry| {
            let name = entry.file_name();
            let stem = name.as_bytes().strip_suffix(end.as_bytes())?;
            let mut parts = stem.splitn(3, |byte| *byte == b'_');
            let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
            Some([namespace, pod, container].join(&b'/'))
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    let found = file.metadata()?;
    // Or the user of this process, so that tests do not need root.
    let is_trusted = found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw();
    if !found.is_file() || !is_trusted {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup_path::CgroupPath;

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn name(names: &mut ContainerNames, path: &str) -> Option<String> {
        let name = names.name(&CgroupPath::parse(path.as_bytes()).container.unwrap());
        name.map(|name| String::from_utf8(name).unwrap())
    }

    #[test]
    fn names_are_found_in_the_files_of_each_engine() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let [docker, podman, pod, other, broken] = ['a', 'b', 'c', 'd', 'e'].map(id);
        write(
            &format!("var/lib/docker/containers/{docker}/config.v2.json"),
            r#"{"StreamConfig": {}, "Name": "/web-1", "Config": {"Labels": {"a": "b"}}}"#,
        );
        write(&format!("var/lib/docker/containers/{broken}/config.v2.json"), "{\"Name\": 7");
        write(
            "var/lib/containers/storage/overlay-containers/containers.json",
            &format!(r#"[{{"id": "{other}"}}, {{"id": "{podman}", "names": ["db"], "image": "x"}}]"#),
        );
        write(&format!("var/log/containers/shop-5f_default_nginx-{pod}.log"), "");
        let mut names = ContainerNames::new(root.path());
        assert_eq!(name(&mut names, &format!("/docker/{docker}")), Some("web-1".into()));
        assert_eq!(name(&mut names, &format!("/machine.slice/libpod-{podman}.scope")), Some("db".into()));
        assert_eq!(name(&mut names, &format!("/kubepods/pod1/{pod}")), Some("default/shop-5f/nginx".into()));
        assert_eq!(name(&mut names, &format!("/libpod_parent/libpod-{other}")), None);
        assert_eq!(name(&mut names, &format!("/docker/{broken}")), None);
        assert_eq!(name(&mut names, "/lxc/web"), None);
        // A name that was found is kept.
        fs::remove_dir_all(root.path().join("var")).unwrap();
        assert_eq!(name(&mut names, &format!("/docker/{docker}")), Some("web-1".into()));
    }
}
