//! `org.libvirt.Domain`: its sizes, its metadata and its tunables.

use super::call::{Call, Fault, Reply};
use super::domain::done;
use super::mount::Mount;
use super::schema::Method;
use super::typed_params::{self, Param};
use crate::engine::parameters::Group;
use crate::engine::stats::Stat;
use crate::model::ids::DomainId;
use std::collections::{BTreeMap, HashMap};
use zbus::OwnedVariant;

/// `a{sv}` as it comes in, wrapped once.
type Given = HashMap<String, OwnedVariant>;

/// Answer `member`; what the API has and this driver has not is code 3.
pub(super) async fn call(mount: &Mount, id: DomainId, member: &str, method: &Method, call: &Call) -> Reply {
    let service = &mount.service;
    let bits = || call.args::<(u32,)>().map(|(bits,)| bits);
    match member {
        "GetMetadata" => {
            let (kind, uri, bits): (i32, String, u32) = call.args()?;
            call.reply(&(service.metadata(id, kind, &uri, bits)?,))
        }
        "SetMetadata" => {
            let (kind, text, prefix, uri, bits): (i32, String, String, String, u32) = call.args()?;
            done(call, service.set_metadata(id, kind, &text, &prefix, &uri, bits).await)
        }
        "SetMemory" => {
            let (kib, bits): (u64, u32) = call.args()?;
            done(call, service.set_memory(id, kib, bits).await)
        }
        "SetVcpus" => {
            let (count, bits): (u32, u32) = call.args()?;
            done(call, service.set_vcpus(id, count, bits).await)
        }
        "MemoryStats" => {
            let stats: BTreeMap<i32, u64> = service.memory_stats(id, bits()?)?.into_iter().collect();
            call.reply(&(stats,))
        }
        "GetVcpuPinInfo" => call.reply(&(service.vcpu_pins(id, bits()?)?,)),
        "PinVcpu" => {
            let (vcpu, cpus, bits): (u32, Vec<bool>, u32) = call.args()?;
            done(call, service.pin_vcpu(id, vcpu, &cpus, bits))
        }
        "GetEmulatorPinInfo" => call.reply(&(service.emulator_pin(id, bits()?)?,)),
        "PinEmulator" => {
            let (cpus, bits): (Vec<bool>, u32) = call.args()?;
            done(call, service.pin_emulator(id, &cpus, bits))
        }
        _ => parameters(mount, id, member, method, call),
    }
}

/// The calls whose argument or answer is a list of typed parameters.
fn parameters(mount: &Mount, id: DomainId, member: &str, method: &Method, call: &Call) -> Reply {
    let (service, function) = (&mount.service, method.function.as_str());
    let group = match member.trim_start_matches(['G', 'S']).trim_start_matches("et") {
        "SchedulerParameters" => Group::Scheduler,
        "MemoryParameters" => Group::Memory,
        "BlockIOParameters" => Group::BlockIo,
        "NumaParameters" => Group::Numa,
        "PerfEvents" => Group::PerfEvents,
        of_device => return device_parameters(mount, id, of_device, member, method, call),
    };
    if member.starts_with("Get") {
        let (bits,): (u32,) = call.args()?;
        let all = service.parameters(id, group, bits, function)?;
        return call.reply(&(typed_params::dict(all.into_iter().map(|(name, value)| (name, value.into()))),));
    }
    let (given, bits): (Given, u32) = call.args()?;
    done(call, service.set_parameters(id, group, read(given)?, bits, function))
}

/// Those of one device, which is the first argument.
fn device_parameters(mount: &Mount, id: DomainId, group: &str, member: &str, method: &Method, call: &Call) -> Reply {
    let (service, function) = (&mount.service, method.function.as_str());
    let group = match group {
        "BlockIOTune" => Group::Throttle,
        "InterfaceParameters" => Group::Interface,
        _ => return Err(Fault::unsupported(function)),
    };
    if member.starts_with("Get") {
        let (device, bits): (String, u32) = call.args()?;
        let all = service.parameters(id, group(device), bits, function)?;
        return call.reply(&(typed_params::dict(all.into_iter().map(|(name, value)| (name, value.into()))),));
    }
    let (device, given, bits): (String, Given, u32) = call.args()?;
    done(call, service.set_parameters(id, group(device), read(given)?, bits, function))
}

/// Parameters as they come in (`virtDBusUtilGVariantToTypedParams`).
fn read(given: Given) -> Result<Vec<(String, Stat)>, Fault> {
    let one = |(name, value): (String, OwnedVariant)| {
        let stat = match &*value {
            Param::I32(value) => Stat::Int(*value),
            Param::U32(value) => Stat::UInt(*value),
            Param::I64(value) => Stat::Long(*value),
            Param::U64(value) => Stat::ULong(*value),
            Param::F64(value) => Stat::Double(*value),
            Param::Bool(value) => Stat::Bool(*value),
            Param::Str(value) => Stat::Text(value.to_string()),
            other => return Err(typed_params::invalid(&other.value_signature().to_string())),
        };
        Ok((name, stat))
    };
    given.into_iter().map(one).collect()
}
