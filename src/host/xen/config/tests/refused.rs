//! What is refused, in both directions, by element and line or by key and line.

use crate::host::xen::config::{Config, check, from_config, to_config};

fn domain(os: &str, rest: &str, devices: &str) -> String {
    format!(
        "<domain type='xen'>\n<name>a</name><uuid>c7a5fdb2-cdaf-9455-926a-d65c16db1809</uuid><memory>1024</memory>\n\
         <os>{os}</os>\n{rest}\n<devices>\n{devices}\n</devices>\n</domain>"
    )
}

const PV: &str = "<type>linux</type><kernel>/k</kernel>";
const HVM: &str = "<type>hvm</type>";
const DISK: &str = "<disk type='file'><source file='/a'/><target dev='xvda'/>";

#[test]
fn what_xl_cannot_do_is_refused_by_element_and_line() {
    let unsupported = |what: &str, place: &str| format!("unsupported configuration: {what} ({place}) is not supported");
    let element = |name: &str, line: u32, column: u32| {
        unsupported(&format!("element <{name}>"), &format!("line {line}, column {column}"))
    };
    let value = |text: &str, name: &str, line: u32, column: u32| {
        format!("unsupported configuration: {text} of element <{name}> (line {line}, column {column}) is not supported")
    };
    let table = [
        (domain("", "", ""), "XML error: an os <type> must be specified".to_owned()),
        (domain("<type>exe</type>", "", ""), value("value 'exe'", "type", 3, 5)),
        (domain("<type>linux</type>", "", ""), "unsupported configuration: a domain of type linux needs <kernel> or <bootloader>".to_owned()),
        (domain("<type>hvm</type><initrd>/i</initrd>", "", ""), "unsupported configuration: initrd and cmdline can only be used together with a direct kernel boot".to_owned()),
        (domain("<type machine='xenfv'>linux</type>", "", ""), value("machine='xenfv'", "type", 3, 5)),
        (domain("<type arch='i686'>linux</type>", "", ""), value("arch='i686'", "type", 3, 5)),
        (domain(&format!("{PV}<loader>/l</loader>"), "", ""), element("loader", 3, 42)),
        (domain(&format!("{HVM}<nvram>/n</nvram>"), "", ""), element("nvram", 3, 21)),
        (domain(HVM, "<bootloader>/b</bootloader>", ""), element("bootloader", 4, 1)),
        (domain(PV, "<features><acpi/></features>", ""), element("acpi", 4, 11)),
        (domain(PV, "<cpu mode='custom'/>", ""), value("mode='custom'", "cpu", 4, 1)),
        (domain(PV, "<clock offset='utc'><timer name='tsc'/></clock>", ""), element("timer", 4, 21)),
        (domain(PV, "<vcpu current='3'>2</vcpu>", ""), value("current='3'", "vcpu", 4, 1)),
        (domain(PV, "<vcpu cpuset='nodes:1'>2</vcpu>", ""), value("cpuset='nodes:1'", "vcpu", 4, 1)),
        (domain(PV, "<on_reboot>explode</on_reboot>", ""), value("value 'explode'", "on_reboot", 4, 1)),
        (domain(PV, "<memoryBacking/>", ""), element("memoryBacking", 4, 1)),
        (domain(PV, "", "<hostdev/>"), element("hostdev", 6, 1)),
        (domain(PV, "", "<serial type='pty'/>"), element("serial", 6, 1)),
        (domain(HVM, "", "<parallel type='pty'/>"), element("parallel", 6, 1)),
        (domain(HVM, "", "<serial type='tcp'/>"), value("type='tcp'", "serial", 6, 1)),
        (domain(PV, "", "<disk type='network'/>"), value("type='network'", "disk", 6, 1)),
        (domain(HVM, "", "<disk device='floppy'/>"), value("device='floppy'", "disk", 6, 1)),
        (domain(PV, "", "<disk><source file='/a'/><target dev='xvda' bus='virtio'/></disk>"), value("bus='virtio'", "target", 6, 26)),
        (domain(PV, "", "<disk><target dev='xvda'/></disk>"), "XML error: missing source information for device xvda (line 6, column 1)".to_owned()),
        (domain(PV, "", &format!("{DISK}<boot order='1'/></disk>")), element("boot", 6, 58)),
        (domain(PV, "", &format!("{DISK}<driver cache='none'/></disk>")), unsupported("attribute 'cache' of element <driver>", "line 6, column 58")),
        (domain(PV, "", &format!("{DISK}<driver name='phy'/><shareable/></disk>")), element("shareable", 6, 78)),
        (domain(PV, "", &format!("{DISK}<o xmlns='urn:virsnap:xl'/></disk>")), element("o", 6, 58)),
        (domain(PV, "", &format!("{DISK}<options xmlns='urn:virsnap:xl'>vdev=xvdb</options></disk>")), element("disk", 6, 1)),
        (domain(PV, "", "<disk><source file='a'/><target dev='xvda'/></disk>"), "XML error: Invalid value for attribute 'file' in element 'source': 'a' (line 6, column 7)".to_owned()),
        (domain(PV, "", "<interface type='network'/>"), value("type='network'", "interface", 6, 1)),
        (domain(PV, "", "<interface type='ethernet'/>"), value("type='ethernet'", "interface", 6, 1)),
        (domain(PV, "", "<interface type='bridge'><source bridge='a,b'/></interface>"), value("bridge='a,b'", "source", 6, 26)),
        (domain(PV, "", "<interface type='bridge'><model type='e1000'/></interface>"), value("type='e1000'", "model", 6, 26)),
        (domain(PV, "", "<channel type='pty'><target type='virtio' name='n'/></channel>"), value("type='virtio'", "target", 6, 21)),
        (domain(PV, "", "<console type='pty'><target type='virtio'/></console>"), value("type='virtio'", "target", 6, 21)),
        (domain(PV, "", "<graphics type='spice'/>"), value("type='spice'", "graphics", 6, 1)),
        (domain(PV, "", "<graphics type='vnc' passwd='a,b'/>"), value("passwd='a,b'", "graphics", 6, 1)),
        (domain(PV, "", "<graphics type='vnc' port='80'/>"), "unsupported configuration: vnc port must be in range [5900,65535] (line 6, column 1)".to_owned()),
        (domain(PV, "", "<input type='mouse' bus='xen'/>"), value("bus='xen'", "input", 6, 1)),
        (domain(PV, "", "<video><model type='vga'/></video>"), value("type='vga'", "model", 6, 8)),
        (domain(PV, "", "<video><model type='none'/></video><video/>"), element("video", 6, 36)),
        (domain(PV, "<metadata><c:config xmlns:c='urn:virsnap:xl'>a</c:config></metadata>", ""), "unsupported configuration: element <config> (line 4, column 11): xl configuration, line 1, column 2: expected '=' behind 'a'".to_owned()),
        (domain(PV, "<metadata><c:config xmlns:c='urn:virsnap:xl'>memory = 1</c:config></metadata>", ""), "XML error: 'memory' of element <config> (line 4, column 11) is set elsewhere".to_owned()),
    ];
    for (xml, expected) in table {
        let got = to_config(&xml).map(|c| c.to_string()).map_err(|e| e.to_string());
        assert_eq!(got, Err(expected), "{xml}");
    }
}

#[test]
fn another_root_or_type_is_refused_in_libvirts_words() {
    let table = [
        ("<network/>", "XML error: expecting root element of 'domain', not 'network'"),
        ("<domain/>", "XML error: missing domain type attribute"),
        (
            "<domain type='kvm'/>",
            "unsupported configuration: type='kvm' of element <domain> (line 1, column 1) is not supported",
        ),
        ("<domain type='xen'/>", "XML error: an os <type> must be specified"),
        ("<domain type='xen'><bootloader>/b</bootloader></domain>", "XML error: missing domain name"),
    ];
    for (xml, expected) in table {
        assert_eq!(check(xml).expect_err(xml).to_string(), expected);
    }
}

#[test]
fn a_configuration_that_no_definition_can_say_is_refused_by_key_and_line() {
    let table = [
        ("", "name is missing"),
        ("name = 'a'", "memory is missing"),
        ("name = 'a/b'", "name: is not the name of a domain"),
        ("name = ['a']", "name: a string or number is expected"),
        ("type = 'arm'", "type: 'arm' is not supported"),
        ("name = 'a'\nuuid = 'x'", "uuid: 'x' is not a UUID"),
        ("name = 'a'; memory = '1G'", "memory: '1G' is not a number"),
        ("name = 'a'; memory = 0", "memory: '0' MiB are not supported"),
        ("name = 'a'; memory = 1; vcpus = 3; maxvcpus = 2", "vcpus: 3 of 2 is not a number of CPUs"),
        ("name = 'a'; memory = 1; disk = [['a']]", "disk: a list of strings is expected"),
        ("name = 'a'; memory = 1; disk = ['/a,raw']", "disk: '/a,raw': vdev is missing"),
        ("name = 'a'; memory = 1; disk = ['/a,dmg,xvda']", "disk: '/a,dmg,xvda': unknown format 'dmg'"),
        ("name = 'a'; memory = 1; disk = ['vdev=xvda']", "disk: 'vdev=xvda': no target for xvda"),
        ("name = 'a'; memory = 1; disk = ['/a,,xvda,x']", "disk: '/a,,xvda,x': unknown access 'x'"),
        ("name = 'a'; memory = 1; disk = ['/a,,xvda,w,y']", "disk: '/a,,xvda,w,y': 'y' is one position too many"),
        (
            "name = 'a'; memory = 1; disk = ['/a,,xvda,format=qcow2']",
            "disk: '/a,,xvda,format=qcow2': format is said twice",
        ),
        ("name = 'a'; memory = 1; disk = ['/a,,xvda,vdev=xvdb']", "disk: '/a,,xvda,vdev=xvdb': vdev is said twice"),
        ("name = 'a'; memory = 1; disk = ['/a,,xvda,target=/b']", "disk: '/a,,xvda,target=/b': target is said twice"),
        ("name = 'a'; memory = 1; disk = ['/a,,xvda,bogus=1']", "disk: '/a,,xvda,bogus=1': unknown option 'bogus'"),
        ("name = 'a'; memory = 1; disk = ['foo:/a,xvda,w']", "disk: 'foo:/a,xvda,w': unknown prefix 'foo'"),
        (
            "name = 'a'; memory = 1; disk = ['/a,,xvda,backendtype=x']",
            "disk: '/a,,xvda,backendtype=x': unknown value 'x' of backendtype",
        ),
        ("name = 'a'; memory = 1; vif = ['mac=1']", "vif: 'mac=1': '1' is not the address of a card"),
        ("name = 'a'; memory = 1; channel = ['x']", "channel: 'x': name is missing"),
        ("name = 'a'; memory = 1; x = 'a\x01'", "x has a character that XML cannot hold"),
    ];
    for (text, expected) in table {
        let got = from_config(&Config::parse(text).unwrap()).expect_err(text).to_string();
        assert!(got.ends_with(&format!(": {expected}")), "{text}: {got}");
    }
    let placed = from_config(&Config::parse("name = 'a'\nmemory = 1\n vif = ['type=x']").unwrap());
    let expected = "unsupported configuration: xl configuration, line 3, column 2: vif: 'type=x': unknown type 'x'";
    assert_eq!(placed.unwrap_err().to_string(), expected);
}
