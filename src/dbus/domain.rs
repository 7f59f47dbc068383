//! `org.libvirt.Domain`: one domain's life, and the way to its snapshots.

use super::call::{Call, Reply};
use super::mount::Mount;
use super::schema::Method;
use super::tuning;
use super::typed_params::{self, Param};
use crate::engine::service::Progress;
use crate::model::file_system::FileSystem;
use crate::model::flags::{self, XmlFlags};
use crate::model::ids::DomainId;

/// `virDomainJobType`: none, with a known end, without one.
const JOB_NONE: i32 = 0;
const JOB_BOUNDED: i32 = 1;
const JOB_UNBOUNDED: i32 = 2;

/// Answer `member`; what the API has and this driver has not is code 3.
pub(super) async fn call(mount: &Mount, id: DomainId, member: &str, method: &Method, call: &Call) -> Reply {
    let service = &mount.service;
    let bits = || call.args::<(u32,)>().map(|(bits,)| bits);
    match member {
        "Create" => done(call, service.start(id, bits()?).await),
        "Shutdown" => done(call, service.shutdown(id, bits()?).await),
        "Reboot" => done(call, service.reboot(id, bits()?).await),
        "Reset" => done(call, service.reset(id, bits()?).await),
        "Destroy" => done(call, service.destroy(id, bits()?).await),
        "Undefine" => done(call, service.undefine(id, bits()?).await),
        "Suspend" => done(call, service.suspend(id).await),
        "Resume" => done(call, service.resume(id).await),
        "GetXMLDesc" => {
            let bits = XmlFlags::parse(bits()?, "qemuDomainGetXMLDesc")?;
            call.reply(&(service.xml_desc(id, bits)?,))
        }
        "GetState" => {
            flags::none(bits()?, "qemuDomainGetState")?;
            let run = service.view(id)?.run;
            call.reply(&((run.state as i32, run.reason),))
        }
        "GetStats" => {
            let (groups, bits): (u32, u32) = call.args()?;
            let stats = service.stats(id, groups, bits)?;
            call.reply(&(typed_params::dict(stats.into_iter().map(|(key, value)| (key, value.into()))),))
        }
        "GetVcpus" => call.reply(&(service.vcpus(id, bits()?)?,)),
        "GetJobInfo" => call.reply(&(job_info(progress(mount, id)?.as_ref()),)),
        "GetJobStats" => {
            flags::none(bits()?, "qemuDomainGetJobStats")?;
            call.reply(&(job_stats(progress(mount, id)?.as_ref()),))
        }
        "AbortJob" => done(call, service.cancel(id)),
        "FSFreeze" => {
            let (mountpoints, bits): (Vec<String>, u32) = call.args()?;
            call.reply(&(service.freeze(id, &mountpoints, bits).await?,))
        }
        "FSThaw" => {
            let (_, bits): (Vec<String>, u32) = call.args()?;
            call.reply(&(service.thaw(id, bits).await?,))
        }
        "GetFSInfo" => {
            let all = service.file_systems(id, bits()?).await?;
            call.reply(&(all.into_iter().map(file_system).collect::<Vec<_>>(),))
        }
        "HasManagedSaveImage" => call.reply(&(service.has_managed_save(id, bits()?)?,)),
        "ManagedSave" => done(call, service.managed_save(id, bits()?).await),
        "ManagedSaveRemove" => done(call, service.managed_save_remove(id, bits()?).await),
        "ListDomainSnapshots" => {
            let names = service.snapshot_list(id, None, bits()?)?;
            call.reply(&(names.iter().map(|name| mount.root.snapshot(id, name)).collect::<Vec<_>>(),))
        }
        "SnapshotCreateXML" => {
            let (xml, bits): (String, u32) = call.args()?;
            let name = service.snapshot_create(id, &xml, bits).await?;
            call.reply(&(mount.root.snapshot(id, &name),))
        }
        "SnapshotLookupByName" => {
            let (name, bits): (String, u32) = call.args()?;
            call.reply(&(mount.root.snapshot(id, &service.snapshot_lookup(id, &name, bits)?),))
        }
        "SnapshotCurrent" => call.reply(&(mount.root.snapshot(id, &service.snapshot_current(id, bits()?)?),)),
        "GetControlInfo" => {
            flags::none(bits()?, "qemuDomainGetControlInfo")?;
            call.reply(&(control_info(progress(mount, id)?.as_ref()),))
        }
        _ => tuning::call(mount, id, member, method, call).await,
    }
}

/// `virDomainControlInfo`: state, details, milliseconds in it.
fn control_info(job: Option<&Progress>) -> (u32, u32, u64) {
    const OK: u32 = 0;
    const JOB: u32 = 1;
    job.map_or((OK, 0, 0), |job| (JOB, 0, job.elapsed_ms))
}

/// The reply without values.
pub(super) fn done(call: &Call, outcome: crate::error::Result<()>) -> Reply {
    outcome?;
    call.reply(&())
}

fn progress(mount: &Mount, id: DomainId) -> crate::error::Result<Option<Progress>> {
    Ok(mount.service.progress(id)?.borrow().clone())
}

fn job_type(job: &Progress) -> i32 {
    if job.bytes.1 > 0 { JOB_BOUNDED } else { JOB_UNBOUNDED }
}

/// Mount point, name, type, disks.
fn file_system(one: FileSystem) -> (String, String, String, Vec<String>) {
    (one.mountpoint, one.name, one.kind, one.disks.into_iter().map(|d| d.0).collect())
}

/// `virDomainJobInfo`: type, times, then total, processed and remaining of all data, memory and files.
#[allow(clippy::type_complexity)]
fn job_info(job: Option<&Progress>) -> (i32, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64) {
    let Some(job) = job else { return (JOB_NONE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) };
    let (done, total) = job.bytes;
    let left = total.saturating_sub(done);
    (job_type(job), job.elapsed_ms, 0, total, done, left, 0, 0, 0, total, done, left)
}

fn job_stats(job: Option<&Progress>) -> (i32, std::collections::BTreeMap<String, Param>) {
    let Some(job) = job else { return (JOB_NONE, typed_params::dict::<String>([])) };
    let (done, total) = job.bytes;
    let params = [
        ("operation", Param::I32(job.operation)),
        ("time_elapsed", Param::U64(job.elapsed_ms)),
        ("data_total", Param::U64(total)),
        ("data_processed", Param::U64(done)),
        ("data_remaining", Param::U64(total.saturating_sub(done))),
        // Beyond libvirt's: what it does now, and how far it is in steps.
        ("virsnap.phase", Param::from(job.phase.clone())),
        ("virsnap.step", Param::U64(job.step as u64)),
        ("virsnap.steps", Param::U64(job.steps as u64)),
    ];
    (job_type(job), typed_params::dict(params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::DynamicType;

    fn signature(body: &impl DynamicType) -> String {
        body.signature().to_string_no_parens()
    }

    #[test]
    fn the_job_of_a_domain_has_the_types_of_libvirt_dbus() {
        let job = Progress {
            operation: 6,
            snapshot: "s".into(),
            phase: "saving".into(),
            step: 1,
            steps: 4,
            bytes: (1, 3),
            elapsed_ms: 9,
            paused_us: None,
            end: None,
        };
        for job in [None, Some(&job)] {
            assert_eq!(signature(&(job_info(job),)), "(ittttttttttt)");
            assert_eq!(signature(&(job_stats(job),)), "(ia{sv})");
        }
        assert_eq!(job_info(Some(&job)), (1, 9, 0, 3, 1, 2, 0, 0, 0, 3, 1, 2));
    }

    #[test]
    fn a_file_system_has_the_type_of_libvirt_dbus() {
        let (mountpoint, name, kind) = ("/".into(), "vda1".into(), "ext4".into());
        let one = FileSystem { mountpoint, name, kind, disks: vec!["vda".into()] };
        assert_eq!(signature(&(vec![file_system(one)],)), "a(sssas)");
    }

    #[test]
    fn the_control_interface_has_the_type_of_libvirt_dbus() {
        assert_eq!(signature(&(control_info(None),)), "(uut)");
    }

    #[test]
    fn a_state_is_one_structure() {
        assert_eq!(signature(&((5_i32, 0_i32),)), "(ii)");
    }
}
