//! Move a domain with all its snapshots from one daemon to another, as migration tools do it: the
//! images stay where they are (shared storage), the metadata moves.
//!
//! ```text
//! cargo run --example move_tree -- unix:path=/run/a/bus unix:path=/run/b/bus my-machine
//! ```
//!
//! It speaks libvirt-dbus's interface only. The domain must be shut off. Order matters: at the
//! destination parents come before children and the current snapshot last, and nothing is
//! forgotten at the source before all of it is known at the destination.

use zbus::{Connection, OwnedObjectPath, connection};

const QEMU: &str = "/org/libvirt/QEMU";
const CONNECT: &str = "org.libvirt.Connect";
const DOMAIN: &str = "org.libvirt.Domain";
const SNAPSHOT: &str = "org.libvirt.DomainSnapshot";

// libvirt's flags.
const XML_SECURE: u32 = 1;
const XML_INACTIVE: u32 = 2;
const LIST_TOPOLOGICAL: u32 = 1 << 10;
const CREATE_REDEFINE: u32 = 1;
const CREATE_CURRENT: u32 = 2;
const DELETE_METADATA_ONLY: u32 = 2;

/// Move the domain `name`. An error leaves the source as it was, unless the last lines of this
/// function were reached.
pub async fn move_tree(source: &Connection, destination: &Connection, name: &str) -> zbus::Result<()> {
    let domain: OwnedObjectPath = call(source, QEMU, CONNECT, "DomainLookupByName", &(name,)).await?;
    let definition: String = call(source, &domain, DOMAIN, "GetXMLDesc", &(XML_SECURE | XML_INACTIVE,)).await?;
    let snapshots: Vec<OwnedObjectPath> =
        call(source, &domain, DOMAIN, "ListDomainSnapshots", &(LIST_TOPOLOGICAL,)).await?;
    let mut dumps = Vec::new();
    for snapshot in &snapshots {
        let xml: String = call(source, snapshot, SNAPSHOT, "GetXMLDesc", &(XML_SECURE,)).await?;
        let current: bool = call(source, snapshot, SNAPSHOT, "IsCurrent", &(0u32,)).await?;
        dumps.push((xml, current));
    }

    let arrived: OwnedObjectPath = call(destination, QEMU, CONNECT, "DomainDefineXML", &(definition,)).await?;
    for (xml, _) in &dumps {
        let _: OwnedObjectPath =
            call(destination, &arrived, DOMAIN, "SnapshotCreateXML", &(xml, CREATE_REDEFINE)).await?;
    }
    for (xml, _) in dumps.iter().filter(|(_, current)| *current) {
        let flags = CREATE_REDEFINE | CREATE_CURRENT;
        let _: OwnedObjectPath = call(destination, &arrived, DOMAIN, "SnapshotCreateXML", &(xml, flags)).await?;
    }

    for snapshot in snapshots.iter().rev() {
        let _: () = call(source, snapshot, SNAPSHOT, "Delete", &(DELETE_METADATA_ONLY,)).await?;
    }
    call(source, &domain, DOMAIN, "Undefine", &(0u32,)).await
}

async fn call<R, B>(bus: &Connection, path: &str, interface: &str, method: &str, body: &B) -> zbus::Result<R>
where
    R: serde::de::DeserializeOwned + zbus::Type,
    B: serde::Serialize + zbus::DynamicType,
{
    let reply = bus.call_method(Some("org.libvirt"), path, Some(interface), method, body).await?;
    reply.body().deserialize_ignore_signature()
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code)] // the tests include this file
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [source, destination, name] = &words[..] else {
        anyhow::bail!("usage: move_tree SOURCE-BUS-ADDRESS DESTINATION-BUS-ADDRESS DOMAIN");
    };
    let source = connection::Builder::address(source.as_str()).build().await?;
    let destination = connection::Builder::address(destination.as_str()).build().await?;
    move_tree(&source, &destination, name).await?;
    println!("Domain {name} moved");
    Ok(())
}
