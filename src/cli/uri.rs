//! libvirt's URIs of hypervisors, as far as a message bus of this machine can stand for them.

use super::failure::Failure;

/// Those that are known.
pub const KNOWN: &[&str] = &["qemu:///system", "qemu:///session", "xen:///system", "test:///default"];

/// What a URI names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The bus; `None`: the user's default.
    pub bus: Option<&'static str>,
    /// The driver, as it stands in object paths.
    pub driver: &'static str,
}

/// The user's own, as virsh and libvirt find it.
#[must_use]
pub fn default() -> Option<String> {
    ["VIRSH_DEFAULT_CONNECT_URI", "LIBVIRT_DEFAULT_URI"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|uri| !uri.is_empty())
}

/// The place behind `uri`, or virsh's words for one that nothing stands behind.
pub fn place(uri: &str) -> Result<Place, Failure> {
    let failed = |why: String| Failure::new("failed to connect to the hypervisor").and(why);
    let (path, _parameters) = uri.split_once('?').unwrap_or((uri, ""));
    let (bus, driver) = match path.split_once(':').map(|(scheme, rest)| (scheme, rest.trim_end_matches('/'))) {
        Some(("qemu", "///system")) => (Some("system"), "QEMU"),
        Some(("qemu", "///session")) => (Some("session"), "QEMU"),
        Some(("xen", "///system" | "")) => (Some("system"), "Xen"),
        Some(("test", "///default")) => (None, "Test"),
        Some(("qemu" | "xen" | "test", rest)) if rest.starts_with("//") && !rest.starts_with("///") => {
            return Err(failed(format!("no connection to another machine: {uri}")));
        }
        Some((scheme, _)) if scheme.contains('+') => {
            return Err(failed(format!("no connection to another machine: {uri}")));
        }
        _ => {
            let known = KNOWN.join(", ");
            return Err(failed(format!("no connection driver available for {uri}; there are {known}")));
        }
    };
    Ok(Place { bus, driver })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_uris_have_a_place() {
        for (uri, bus, driver) in [
            ("qemu:///system", Some("system"), "QEMU"),
            ("qemu:///session?no_verify=1", Some("session"), "QEMU"),
            ("xen:///system", Some("system"), "Xen"),
            ("xen:///", Some("system"), "Xen"),
            ("test:///default", None, "Test"),
        ] {
            assert_eq!(place(uri), Ok(Place { bus, driver }), "{uri}");
        }
    }

    #[test]
    fn what_no_bus_stands_for_is_refused() {
        for (uri, why) in [
            ("qemu+ssh://host/system", "no connection to another machine: qemu+ssh://host/system"),
            ("qemu://host/system", "no connection to another machine: qemu://host/system"),
            ("qemu:///", "no connection driver available for qemu:///; there are "),
            ("lxc:///", "no connection driver available for lxc:///; there are "),
            ("", "no connection driver available for ; there are "),
        ] {
            let refusal = place(uri).unwrap_err();
            assert_eq!(refusal.lines()[0], "failed to connect to the hypervisor");
            assert!(refusal.lines()[1].starts_with(why), "{uri}: {refusal:?}");
        }
    }
}
