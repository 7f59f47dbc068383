use super::*;
use std::path::PathBuf;

/// Pairs of files `NAME.cfg` and `NAME.xml` that say the same, both ways.
#[test]
fn a_configuration_and_its_xml_say_the_same() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/xen/config");
    let mut seen = 0;
    for entry in
        std::fs::read_dir(&directory).unwrap().flatten().filter(|e| e.path().extension().is_some_and(|x| x == "cfg"))
    {
        let path = entry.path();
        let text = std::fs::read_to_string(&path).unwrap();
        let config = Config::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let xml = from_config(&config).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let golden = path.with_extension("xml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &xml).unwrap();
        }
        assert_eq!(xml, std::fs::read_to_string(&golden).unwrap(), "{}", path.display());
        crate::xml::domain::view(&xml).unwrap();
        let back = to_config(&xml).unwrap_or_else(|e| panic!("{}: {e}\n{xml}", path.display()));
        assert_eq!(from_config(&back).unwrap(), xml, "{}: there and back", path.display());
        let text = back.to_string();
        assert_eq!(Config::parse(&text).unwrap().to_string(), text, "{}: as text", path.display());
        for key in config.keys() {
            // What the XML says in another way, or need not say.
            let renamed = ["extra", "root", "builder", "disk", "vif", "vfb", "maxmem", "channel"].contains(&key);
            assert!(renamed || back.get(key).is_some(), "{}: '{key}' is lost", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} pairs");
}

#[test]
fn what_a_running_domain_has_comes_from_the_list_and_the_rest_from_its_text() {
    let list: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/xen/recorded/list-l-two-qcow2.json")).unwrap();
    let original =
        "name='g2'\nmemory=1\nextra='x'\ndisk=['/old,raw,xvda,w']\ncpu_weight = 300\nvif=['bridge=br0,rate=1Mb/s']\n";
    let running = from_running(&list[0], Some(original)).unwrap().unwrap();
    assert_eq!((running.domid, running.name.as_str()), (2, "g2"));
    let view = crate::xml::domain::view(&running.xml).unwrap();
    assert_eq!(view.memory_kib, 131_072);
    assert_eq!(view.disks[1].source.as_ref().map(|p| p.as_str()), Some("/x/g2b.qcow2"));
    assert!(running.xml.contains("cpu_weight = 300"), "{}", running.xml);
    let again = to_config(&running.xml).unwrap();
    assert_eq!(again.get("cpu_weight"), Some(&Value::Integer(300)));
    assert_eq!(again.list("vif"), ["bridge=br0,rate=1Mb/s"]);
    assert_eq!(again.text("cmdline"), Some("console=hvc0 quiet"));
    assert_eq!(again.text("on_crash"), Some("preserve"));
}

#[test]
fn domain_0_has_no_configuration() {
    let list: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/xen/recorded/list-l-all.json")).unwrap();
    let all: Vec<_> = list.as_array().unwrap().iter().map(|d| from_running(d, None).unwrap()).collect();
    assert!(all[0].is_none() && all.iter().skip(1).all(Option::is_some), "{all:?}");
}

#[test]
fn what_xl_cannot_say_is_refused_by_name_and_line() {
    let domain = |devices: &str| {
        format!(
            "<domain type='xen'>\n<name>g</name>\n<uuid>11111111-1111-4111-8111-111111111111</uuid>\n<memory>65536</memory>\n\
             <os><type machine='xenpv'>linux</type></os>\n<devices>\n{devices}\n</devices>\n</domain>"
        )
    };
    for (devices, told) in [
        (
            "<disk type='network'><target dev='xvda'/></disk>",
            "type='network' of element <disk> (line 7, column 1) is not supported",
        ),
        ("<disk type='file'><source file='/a'/><target dev='xvda' bus='virtio'/></disk>", "bus='virtio'"),
        ("<disk type='file'><target dev='xvda'/></disk>", "disk 'xvda' (line 7, column 1) has no source"),
        ("<tpm/>", "element <tpm> (line 7, column 1) is not supported"),
        ("<serial type='pty'/>", "element <serial> (line 7, column 1) is not supported"),
        ("<interface type='network'/>", "type='network' of element <interface>"),
        ("<graphics type='spice'/>", "type='spice'"),
        ("<input type='tablet' bus='virtio'/>", "type='tablet'"),
    ] {
        let error = check(&domain(devices)).unwrap_err().to_string();
        assert!(error.contains(told), "{devices}: {error}");
    }
    let error = check(&domain("").replace("'xen'", "'qemu'")).unwrap_err().to_string();
    assert!(error.contains("type='qemu' of element <domain> (line 1, column 1)"), "{error}");
    let error = Config::parse("name = 'a'\nmemory = [1,\n").unwrap_err().to_string();
    assert!(error.contains("3:1"), "{error}");
}

#[test]
fn a_definition_gets_an_identity_and_xens_macs_and_stays_otherwise() {
    let xml = "<domain type='xen'><name>g</name><memory>65536</memory><os><type>linux</type></os>\
               <devices><interface type='bridge'><source bridge='b'/></interface></devices></domain>";
    let checked = check(xml).unwrap();
    assert!(checked.contains("<uuid>") && checked.contains("<mac address='00:16:3e:"), "{checked}");
    assert_eq!(check(&checked).unwrap(), checked);
}

proptest::proptest! {
    #[test]
    fn any_text_in_a_configuration_comes_back(text in "[^\\x00-\\x08\\x0e-\\x1f\\x7f-\\u{9f}]{0,40}") {
        let mut config = Config::default();
        config.set_text("extra", text.as_str());
        config.set_list("disk", vec![text.clone(), "b".to_owned()]);
        let back = Config::parse(&config.to_string()).unwrap();
        proptest::prop_assert_eq!(back.list("disk"), [text.as_str(), "b"]);
        proptest::prop_assert_eq!(back.get("extra"), Some(&Value::Text(text)));
    }
}
