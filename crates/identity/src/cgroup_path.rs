//! Reads the systemd unit, the container and the application of a process from the path of its cgroup. The names of
//! containers are not in it.

use model::Bytes;

/// The unit, the container and the application in the path of a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupPath {
    /// The innermost systemd unit, as `systemctl` takes it; empty without one.
    pub unit: Bytes,
    /// The innermost container; `None` outside of one.
    pub container: Option<Container>,
    /// The Flatpak, the Snap, or the application of the desktop; empty without one.
    pub app: Bytes,
}

/// A container as its engine identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine: `docker`, `podman`, `lxc`, and others.
    pub engine: &'static str,
    /// 64 hexadecimal digits, or the name where the engine uses only names.
    pub id: Bytes,
}

/// Digits of a container's id in its label, as many as `docker ps` shows.
const SHOWN_DIGITS: usize = 12;
/// Digits of a container's id (OCI runtimes use a SHA-256 or as many random digits).
const ID_DIGITS: usize = 64;

impl Container {
    /// The label of the container for users: its engine, and its name or else the start of its id.
    pub fn label(&self, name: Option<&[u8]>) -> Bytes {
        let shown = name.unwrap_or(match self.has_id() {
            true => self.id.get(..SHOWN_DIGITS).unwrap_or(&self.id),
            false => &self.id,
        });
        [self.engine.as_bytes(), b" ", shown].concat()
    }

    /// Whether the container has an id, so that its name may be in a file of its engine.
    pub(crate) fn has_id(&self) -> bool {
        is_id(&self.id)
    }
}

impl CgroupPath {
    /// Reads a path. Any bytes are accepted.
    pub fn parse(path: &[u8]) -> Self {
        let mut found = Self::default();
        let mut parent: &[u8] = b"";
        for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            if is_unit(component) {
                found.unit = component.to_vec();
            }
            if let Some(container) = container(component, parent) {
                found.container = Some(container);
                // An application outside of the container is not the one that runs inside.
                found.app.clear();
            } else if let Some(app) = app(component) {
                found.app = app;
            }
            parent = component;
        }
        found
    }
}

/// Whether a component has the suffix of a unit type that has cgroups (systemd.unit(5)).
fn is_unit(component: &[u8]) -> bool {
    const SUFFIXES: [&[u8]; 6] = [b".service", b".scope", b".socket", b".slice", b".mount", b".swap"];
    SUFFIXES.iter().any(|suffix| component.len() > suffix.len() && component.ends_with(suffix))
}

fn is_id(text: &[u8]) -> bool {
    text.len() == ID_DIGITS && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The container that a component stands for; `parent` is the component above it.
fn container(component: &[u8], parent: &[u8]) -> Option<Container> {
    let named = |engine, name: &[u8]| Some(Container { engine, id: unescape(name) });
    if let Some(name) = component.strip_prefix(b"lxc.payload.") {
        return named("lxc", name);
    }
    if matches!(parent, b"lxc" | b"lxc.payload") {
        return named("lxc", component);
    }
    let service = component.strip_prefix(b"systemd-nspawn@").and_then(|rest| rest.strip_suffix(b".service"));
    if let Some(name) = service {
        return named("nspawn", name);
    }
    let machine = component.strip_prefix(b"machine-").and_then(|rest| rest.strip_suffix(b".scope"));
    if let Some(name) = machine {
        return named("machine", name);
    }
    // docker-ID.scope, or ID below a directory of the engine, or SLICE:RUNTIME:ID where runc takes a cgroup path in
    // systemd's syntax for a path.
    let bare = component.strip_suffix(b".scope").unwrap_or(component);
    let (start, id) = bare.split_at(bare.len().checked_sub(ID_DIGITS)?);
    if !is_id(id) {
        return None;
    }
    let prefix = start.strip_suffix(b"-").or(start.strip_suffix(b":")).unwrap_or(start);
    let engine = match prefix.rsplit(|byte| *byte == b':').next().unwrap_or_default() {
        b"docker" => "docker",
        b"libpod" => "podman",
        b"cri-containerd" | b"nerdctl" | b"containerd" => "containerd",
        b"crio" => "cri-o",
        b"" if start.is_empty() => match parent {
            b"docker" => "docker",
            b"libpod_parent" => "podman",
            b"default" | b"k8s.io" | b"moby" => "containerd",
            _ if parent.starts_with(b"pod") || parent.starts_with(b"kubepods") => "kubernetes",
            _ => "container",
        },
        // libpod-conmon-ID is the monitor of a container and does not run in it.
        _ => return None,
    };
    Some(Container { engine, id: id.to_vec() })
}

/// The application that a component stands for.
fn app(component: &[u8]) -> Option<Bytes> {
    let bare = component.strip_suffix(b".scope").map(|bare| (bare, true));
    let (bare, is_scope) = bare.or_else(|| component.strip_suffix(b".service").map(|bare| (bare, false)))?;
    // snap.NAME.APP.service, snap.NAME.APP-UUID.scope
    if let Some(rest) = bare.strip_prefix(b"snap.") {
        let name = rest.split(|byte| matches!(byte, b'.')).next().filter(|name| !name.is_empty())?;
        return Some([b"Snap ", unescape(name).as_slice()].concat());
    }
    // Older versions of Flatpak: flatpak-ID-NUMBER.scope
    if let Some(rest) = bare.strip_prefix(b"flatpak-") {
        return Some([b"Flatpak ", unescape(before_last_dash(rest)?).as_slice()].concat());
    }
    // https://systemd.io/DESKTOP_ENVIRONMENTS: app[-LAUNCHER]-ID-RANDOM.scope, app[-LAUNCHER]-ID[@RANDOM].service
    let rest = bare.strip_prefix(b"app-")?;
    let rest = match is_scope {
        true => before_last_dash(rest)?,
        false => rest.split(|byte| *byte == b'@').next()?,
    };
    let mut parts = rest.splitn(2, |byte| *byte == b'-');
    let (first, second) = (parts.next()?, parts.next());
    let id = unescape(second.unwrap_or(first));
    match second {
        _ if id.is_empty() => None,
        Some(_) if first == b"flatpak" => Some([b"Flatpak ", id.as_slice()].concat()),
        _ => Some(id),
    }
}

fn before_last_dash(text: &[u8]) -> Option<&[u8]> {
    let dash = text.iter().rposition(|byte| *byte == b'-')?;
    Some(&text[..dash]).filter(|text| !text.is_empty())
}

/// Undoes `systemd-escape`: `\x2d` is a dash.
fn unescape(text: &[u8]) -> Bytes {
    let mut out = Bytes::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\x").and_then(|digits| {
            let text = std::str::from_utf8(digits.get(..2)?).ok()?;
            Some((u8::from_str_radix(text, 16).ok()?, &digits[2..]))
        });
        let (byte, after) = escaped.unwrap_or((*byte, after));
        out.push(byte);
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn shown(path: &str) -> (String, String, String) {
        let parsed = CgroupPath::parse(path.replace("ID", ID).as_bytes());
        let text = |bytes: Bytes| String::from_utf8(bytes).unwrap().replace(ID, "ID");
        let container = parsed.container.map(|container| container.label(None)).unwrap_or_default();
        (text(parsed.unit), text(container), text(parsed.app))
    }

    /// Path; unit, label of the container, application.
    const CASES: &[(&str, &str, &str, &str)] = &[
        ("", "", "", ""),
        ("/", "", "", ""),
        ("/system.slice/nginx.service", "nginx.service", "", ""),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", "", ""),
        ("/system.slice/tool.service/worker/a.b", "tool.service", "", ""),
        ("/.service/.scope", "", "", ""),
        ("/system.slice/docker-ID.scope", "docker-ID.scope", "docker 0123456789ab", ""),
        ("/docker/ID", "", "docker 0123456789ab", ""),
        ("/docker/ID/system.slice/nginx.service", "nginx.service", "docker 0123456789ab", ""),
        ("/machine.slice/libpod-ID.scope/container", "libpod-ID.scope", "podman 0123456789ab", ""),
        ("/machine.slice/libpod-conmon-ID.scope", "libpod-conmon-ID.scope", "", ""),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            "libpod-ID.scope",
            "podman 0123456789ab",
            "",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-ID.scope",
            "cri-containerd-ID.scope",
            "containerd 0123456789ab",
            "",
        ),
        ("/kubepods/burstable/pod1-2-3/ID", "", "kubernetes 0123456789ab", ""),
        ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", "crio-ID.scope", "cri-o 0123456789ab", ""),
        (
            "/system.slice/kubepods-pod1.slice:cri-containerd:ID",
            "system.slice",
            "containerd 0123456789ab",
            "",
        ),
        ("/system.slice/nerdctl-ID.scope", "nerdctl-ID.scope", "containerd 0123456789ab", ""),
        ("/lxc.payload.web-1/init.scope", "init.scope", "lxc web-1", ""),
        ("/lxc.monitor.web-1", "", "", ""),
        ("/lxc/web-1", "", "lxc web-1", ""),
        (
            r"/machine.slice/systemd-nspawn@my\x2dbox.service/payload",
            r"systemd-nspawn@my\x2dbox.service",
            "nspawn my-box",
            "",
        ),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt",
            r"machine-qemu\x2d1\x2dvm.scope",
            "machine qemu-1-vm",
            "",
        ),
        (
            "/user.slice/user@1000.service/app.slice/app-flatpak-org.mozilla.firefox-123.scope",
            "app-flatpak-org.mozilla.firefox-123.scope",
            "",
            "Flatpak org.mozilla.firefox",
        ),
        ("/flatpak-org.gnome.Maps-12.scope", "flatpak-org.gnome.Maps-12.scope", "", "Flatpak org.gnome.Maps"),
        (
            "/app.slice/snap.firefox.firefox-0a1b-2c3d.scope",
            "snap.firefox.firefox-0a1b-2c3d.scope",
            "",
            "Snap firefox",
        ),
        ("/system.slice/snap.lxd.daemon.service", "snap.lxd.daemon.service", "", "Snap lxd"),
        (
            r"/app.slice/app-gnome-org.gnome.Evolution\x2dalarm-12.scope",
            r"app-gnome-org.gnome.Evolution\x2dalarm-12.scope",
            "",
            "org.gnome.Evolution-alarm",
        ),
        ("/app.slice/app-org.kde.konsole-77.scope", "app-org.kde.konsole-77.scope", "", "org.kde.konsole"),
        (
            "/app.slice/app-org.kde.kdeconnect@autostart.service",
            "app-org.kde.kdeconnect@autostart.service",
            "",
            "org.kde.kdeconnect",
        ),
        ("/app.slice/app-.scope", "app-.scope", "", ""),
        ("/app.slice/app-x.scope", "app-x.scope", "", ""),
        ("/snap..scope", "snap..scope", "", ""),
        // The application that started a container does not run in it.
        ("/app-org.kde.konsole-77.scope/docker-ID.scope", "docker-ID.scope", "docker 0123456789ab", ""),
    ];

    #[test]
    fn units_containers_and_applications_have_their_usual_names() {
        for (path, unit, container, app) in CASES {
            let expected = ((*unit).to_owned(), (*container).to_owned(), (*app).to_owned());
            assert_eq!(shown(path), expected, "{path}");
        }
    }

    #[test]
    fn ids_are_64_lower_case_digits() {
        assert_eq!(CgroupPath::parse(format!("/docker/{}", &ID[1..]).as_bytes()).container, None);
        assert_eq!(CgroupPath::parse(format!("/docker/{}", ID.to_uppercase()).as_bytes()).container, None);
        assert_eq!(CgroupPath::parse(format!("/docker/x{ID}").as_bytes()).container, None);
    }

    #[test]
    fn any_bytes_are_read() {
        assert_eq!(unescape(br"a\x2db\x\xzz\x4"), br"a-b\x\xzz\x4");
        CgroupPath::parse(b"/app-\xff\xfe-\x00.scope/\\x/snap.\n.scope");
    }
}
