//! The machine that the Test driver pretends to run on, and the domain that it begins with.
//!
//! The facts are those of libvirt's `test:///default` (`src/test/test_driver.c`): 8 CPUs of which 3 are
//! online, a domain `test` with 8 GiB and 2 CPUs. Where that one cannot stand for a real guest ours does: its
//! disk is qcow2 and it has the channel of a guest agent, so that every kind of snapshot can be taken of it.

use crate::error::{Code, Error, Result};

/// libvirt's version of its Test hypervisor.
pub const VERSION: u64 = 2;

/// Which of its CPUs are online.
pub const CPUS: [bool; 8] = [true, false, true, false, true, false, false, false];

/// The definition of the domain that is there from the beginning.
pub const DOMAIN: &str = "<domain type='test'>
  <name>test</name>
  <uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
  <memory unit='KiB'>8388608</memory>
  <currentMemory unit='KiB'>2097152</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64'>hvm</type>
    <boot dev='hd'/>
  </os>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/guest/diskimage1'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='network'>
      <mac address='aa:bb:cc:dd:ee:ff'/>
      <source network='default'/>
      <target dev='testnet0'/>
    </interface>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <memballoon model='virtio'/>
  </devices>
</domain>";

/// `<capabilities>`.
pub const CAPABILITIES: &str = "<capabilities>
  <host>
    <cpu>
      <arch>x86_64</arch>
    </cpu>
    <power_management/>
    <topology>
      <cells num='1'>
        <cell id='0'>
          <memory unit='KiB'>16777216</memory>
          <cpus num='8'>
            <cpu id='0' socket_id='0' core_id='0' siblings='0'/>
            <cpu id='1' socket_id='0' core_id='1' siblings='1'/>
            <cpu id='2' socket_id='0' core_id='2' siblings='2'/>
            <cpu id='3' socket_id='0' core_id='3' siblings='3'/>
            <cpu id='4' socket_id='0' core_id='4' siblings='4'/>
            <cpu id='5' socket_id='0' core_id='5' siblings='5'/>
            <cpu id='6' socket_id='0' core_id='6' siblings='6'/>
            <cpu id='7' socket_id='0' core_id='7' siblings='7'/>
          </cpus>
        </cell>
      </cells>
    </topology>
  </host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <wordsize>64</wordsize>
      <emulator>/usr/bin/test-hv</emulator>
      <domain type='test'/>
    </arch>
    <features>
      <disksnapshot default='on' toggle='no'/>
      <externalSnapshot/>
    </features>
  </guest>
</capabilities>
";

/// `<sysinfo>`.
pub const SYSINFO: &str = "<sysinfo type='smbios'>
  <bios>
    <entry name='vendor'>LENOVO</entry>
    <entry name='version'>G4ETA1WW (2.61 )</entry>
    <entry name='date'>05/07/2014</entry>
    <entry name='release'>2.61</entry>
  </bios>
</sysinfo>
";

/// The only architecture.
fn must_be_known(arch: &str) -> Result<()> {
    match arch {
        "" | "x86_64" => Ok(()),
        other => Err(Error::new(Code::InvalidArg, format!("cannot find architecture {other}"))),
    }
}

/// `<domainCapabilities>`; only the one machine type is there.
pub(super) fn domain_capabilities(arch: &str, machine: &str) -> Result<String> {
    must_be_known(arch)?;
    if !matches!(machine, "" | "test") {
        return Err(Error::new(Code::InvalidArg, format!("the machine '{machine}' is not supported by emulator")));
    }
    Ok("<domainCapabilities>
  <path>/usr/bin/test-hv</path>
  <domain>test</domain>
  <machine>test</machine>
  <arch>x86_64</arch>
  <vcpu max='32'/>
  <devices>
    <disk supported='yes'>
      <enum name='diskDevice'>
        <value>disk</value>
        <value>cdrom</value>
      </enum>
      <enum name='bus'>
        <value>virtio</value>
        <value>scsi</value>
        <value>ide</value>
      </enum>
    </disk>
  </devices>
</domainCapabilities>
"
    .to_owned())
}

/// Models by name.
pub(super) fn cpu_models(arch: &str) -> Result<Vec<String>> {
    must_be_known(arch)?;
    Ok(["qemu64", "kvm64", "Nehalem", "Haswell", "EPYC"].map(str::to_owned).to_vec())
}

/// Times that stand still; -1 are all CPUs.
pub(super) fn cpu_times(cpu: i32) -> Result<Vec<(String, u64)>> {
    if cpu != -1 && usize::try_from(cpu).map_or(true, |cpu| cpu >= CPUS.len()) {
        return Err(Error::new(Code::InvalidArg, format!("Invalid cpuNum in testNodeGetCPUStats: {cpu}")));
    }
    let times =
        [("kernel", 34_678_723_400_000), ("user", 9_797_400_000), ("idle", 87_264_900_000), ("iowait", 763_600_000)];
    Ok(times.map(|(name, time)| (name.to_owned(), time)).to_vec())
}
