//! What a real Xen 4.17 said.

use super::{golden, read, tests};
use crate::host::xen::config::{Running, capabilities, from_running, to_config};
use serde_json::{Value as Json, json};

fn listed(name: &str) -> Vec<Json> {
    let text = read(&tests().join("recorded").join(name));
    serde_json::from_str::<Json>(&text).unwrap().as_array().unwrap().clone()
}

#[test]
fn a_running_domain_becomes_the_definition_it_was_created_from() {
    let all = listed("list-l-all.json");
    let running: Vec<Running> = all.iter().filter_map(|d| from_running(d, None).unwrap()).collect();
    assert_eq!(running.iter().map(|r| (r.domid, r.name.as_str())).collect::<Vec<_>>(), [(1, "g1"), (2, "g2")]);
    let first = running.first().unwrap();
    assert_eq!(first.uuid.unwrap().to_string(), "cbf7bd07-5925-4aec-a397-897554f73dab");
    golden(&tests().join("config/pv.xml"), &first.xml);
    assert!(running.get(1).unwrap().xml.contains("<source file='/x/g2b.qcow2'/>"));
}

#[test]
fn domain_0_is_not_a_domain() {
    assert_eq!(from_running(listed("list-l-all.json").first().unwrap(), None).unwrap(), None);
}

#[test]
fn what_runs_wins_and_what_the_list_does_not_say_comes_from_the_original_text() {
    let mut domain = listed("list-l-two-qcow2.json").remove(0);
    domain["config"]["b_info"]["max_vcpus"] = json!(4);
    domain["config"]["b_info"]["avail_vcpus"] = json!([0, 2]);
    domain["config"]["b_info"]["target_memkb"] = json!(100_000);
    let original = "name='before'; memory=64; extra='x'; cpus='1-2'; disk=['/y,,xvda']; vif=['']\n\
                    cpu_weight=512; on_poweroff='preserve'; localtime=1";
    let config = to_config(&from_running(&domain, Some(original)).unwrap().unwrap().xml).unwrap();
    let expected = [
        ("name", "g2"),
        ("memory", "98"),
        ("maxmem", "128"),
        ("vcpus", "2"),
        ("maxvcpus", "4"),
        ("cpus", "1-2"),
        ("cmdline", "console=hvc0 quiet"),
        ("on_poweroff", "destroy"),
        ("localtime", "1"),
        ("cpu_weight", "512"),
    ];
    for (key, value) in expected {
        assert_eq!(config.text(key), Some(value), "{key}");
    }
    assert_eq!(config.get("disk").unwrap().as_list().unwrap().len(), 2);
    assert_eq!(config.get("vif"), None);
    assert_eq!(from_running(&domain, Some("not ! xl")).unwrap().unwrap().name, "g2");
}

#[test]
fn every_device_of_a_running_domain_is_in_its_definition() {
    // Not recorded: members as libxl_types.idl names them.
    let domain = json!({"domid": 7, "config": {
        "c_info": {"type": "hvm", "name": "h", "hap": "True"},
        "b_info": {
            "max_memkb": 1_048_576, "target_memkb": 1_048_576, "bootloader_args": [], "localtime": "True",
            "type.hvm": {
                "bios": "ovmf", "boot": "dc", "apic": "False", "vga": {"kind": "std"}, "serial": "pty",
                "usbdevice_list": ["tablet"], "keymap": "de",
                "vnc": {"enable": "True", "listen": "0.0.0.0", "findunused": "False", "display": 4}
            }
        },
        "disks": [
            {"pdev_path": "/dev/vg/h", "vdev": "hda", "backend": "phy", "format": "raw", "readwrite": 1,
             "direct_io_safe": "True", "discard_enable": "False"},
            {"vdev": "hdc", "format": "empty", "is_cdrom": 1, "removable": 1}
        ],
        "nics": [{"devid": 0, "mac": "00:16:3e:00:00:01", "bridge": "br0", "model": "e1000", "nictype": "vif_ioemu",
                  "ifname": "h0", "mtu": 1492, "rate_bytes_per_interval": 50_000, "rate_interval_usecs": 50_000}],
        "channels": [{"devid": 0, "name": "n", "connection.socket": {"path": "/run/n"}}, {"name": "p", "connection.pty": {}}],
        "vfbs": [{"devid": 0, "vnc": {"enable": "True"}}],
        "on_crash": "coredump_restart"
    }});
    let running = from_running(&domain, None).unwrap().unwrap();
    assert_eq!((running.uuid, running.name.as_str()), (None, "h"));
    golden(&tests().join("recorded/hvm.made-up.xml"), &running.xml);
}

#[test]
fn the_host_says_what_it_runs() {
    let info = capabilities::info(&read(&tests().join("recorded/info.txt")));
    assert_eq!(info.version(), 4_017_007);
    assert_eq!((info.total_memory_mib, info.cpus, info.cores_per_socket, info.cpu_mhz), (2047, 2, 2, 2596));
    let xml = capabilities::host(&info);
    let document = roxmltree::Document::parse(&xml).unwrap();
    let guests: Vec<_> = document.descendants().filter(|n| n.has_tag_name("guest")).collect();
    let text = |guest: &roxmltree::Node<'_, '_>, name: &str| {
        guest.descendants().find(|n| n.has_tag_name(name)).and_then(|n| n.text()).unwrap_or_default().to_owned()
    };
    let kinds: Vec<_> = guests.iter().map(|g| (text(g, "os_type"), text(g, "machine"))).collect();
    let expected = [("linux", "xenpv"), ("xenpvh", "xenpvh"), ("hvm", "xenfv")];
    assert_eq!(kinds, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    // cockpit looks for `guest/features/externalSnapshot` of the guest's os_type and arch.
    for guest in guests {
        let features = guest.children().find(|n| n.has_tag_name("features")).unwrap();
        assert!(features.children().any(|n| n.has_tag_name("externalSnapshot")));
        assert!(guest.descendants().any(|n| n.attribute("name") == Some("x86_64")));
    }
}

#[test]
fn a_machine_that_does_not_run_here_is_refused() {
    let info = capabilities::info("xen_version : 4.17.7\nxen_caps : xen-3.0-x86_64 \nvirt_caps : pv\n");
    let ask = |arch: &str, machine: &str, kind: &str| {
        capabilities::domain(&info, "", arch, machine, kind).map_err(|e| e.to_string())
    };
    for machine in ["", "xenpv"] {
        let xml = ask("", machine, "xen").unwrap();
        assert!(xml.contains("<machine>xenpv</machine>"));
        roxmltree::Document::parse(&xml).unwrap();
    }
    assert_eq!(ask("", "xenfv", "").unwrap_err(), "invalid argument: unknown machine: xenfv");
    assert_eq!(ask("", "", "kvm").unwrap_err(), "invalid argument: unknown virttype: kvm");
    assert_eq!(ask("aarch64", "", "").unwrap_err(), "invalid argument: unknown architecture: aarch64");
}
