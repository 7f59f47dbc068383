//! `org.libvirt.Connect`: the host, and finding and defining domains.

use super::call::{Call, Fault, Reply};
use super::mount::Mount;
use super::router::invalid_uuid;
use super::schema::Method;
use super::typed_params;
use crate::model::flags;
use crate::model::ids::DomainId;

/// Answer `member`; what the API has and this driver has not is code 3.
pub(super) async fn call(mount: &Mount, member: &str, method: &Method, call: &Call) -> Reply {
    let service = &mount.service;
    match member {
        "ListDomains" => {
            let (filter,): (u32,) = call.args()?;
            let paths: Vec<_> = service.list(filter)?.into_iter().map(|id| mount.root.domain(id)).collect();
            call.reply(&(paths,))
        }
        "DomainLookupByName" => {
            let (name,): (String,) = call.args()?;
            call.reply(&(mount.root.domain(service.lookup_name(&name)?),))
        }
        "DomainLookupByUUID" => {
            let (uuid,): (String,) = call.args()?;
            let id = DomainId(uuid::Uuid::parse_str(&uuid).map_err(|_| invalid_uuid())?);
            call.reply(&(mount.root.domain(service.view(id)?.id),))
        }
        "DomainLookupByID" => {
            let (number,): (i32,) = call.args()?;
            call.reply(&(mount.root.domain(service.lookup_number(number)?),))
        }
        "DomainDefineXML" => {
            let (xml,): (String,) = call.args()?;
            call.reply(&(mount.root.domain(service.define(&xml).await?),))
        }
        "DomainCreateXML" => {
            let (xml, bits): (String, u32) = call.args()?;
            call.reply(&(mount.root.domain(service.create_xml(&xml, bits).await?),))
        }
        "GetCapabilities" => call.reply(&(service.capabilities_xml().await?,)),
        "GetDomainCapabilities" => {
            let (emulator, arch, machine, virttype, bits): (String, String, String, String, u32) = call.args()?;
            let xml = service.domain_capabilities_xml(&emulator, &arch, &machine, &virttype, bits).await?;
            call.reply(&(xml,))
        }
        "GetAllDomainStats" => {
            let (groups, bits): (u32, u32) = call.args()?;
            let mut records = Vec::new();
            for (name, stats) in service.all_stats(groups, bits)? {
                records.push((name, typed_params::dict(stats.into_iter().map(|(key, value)| (key, value.into())))));
            }
            call.reply(&(records,))
        }
        "NodeGetMemoryStats" => {
            let (cell, bits): (i32, u32) = call.args()?;
            flags::none(bits, "virHostMemGetStats")?;
            let stats: std::collections::BTreeMap<String, u64> = service.node_memory(cell)?.into_iter().collect();
            call.reply(&(stats,))
        }
        "NodeGetCPUMap" => {
            let (bits,): (u32,) = call.args()?;
            flags::none(bits, "virHostCPUGetMap")?;
            call.reply(&(service.node_cpus()?,))
        }
        "NodeGetCPUStats" => {
            let (cpu, bits): (i32, u32) = call.args()?;
            flags::none(bits, "virHostCPUGetStats")?;
            let times: std::collections::BTreeMap<String, u64> = service.node_cpu_times(cpu)?.into_iter().collect();
            call.reply(&(times,))
        }
        "GetCPUModelNames" => {
            let (arch, bits): (String, u32) = call.args()?;
            flags::none(bits, "qemuConnectGetCPUModelNames")?;
            call.reply(&(service.cpu_models(&arch)?,))
        }
        "GetSysinfo" => {
            let (bits,): (u32,) = call.args()?;
            flags::none(bits, "qemuConnectGetSysinfo")?;
            call.reply(&(service.sysinfo()?,))
        }
        "NodeGetFreeMemory" => call.reply(&(service.node_free_memory()?,)),
        _ => Err(Fault::unsupported(&method.function)),
    }
}
