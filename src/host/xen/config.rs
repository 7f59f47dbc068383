#![allow(missing_docs)]
use crate::error::Result;
pub struct Config(String);
impl std::fmt::Display for Config { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) } }
pub struct Running { pub xml: String }
pub fn to_config(xml: &str) -> Result<Config> {
    let v = crate::xml::domain::view(xml)?;
    let doc = roxmltree::Document::parse(xml).map_err(crate::error::Error::internal)?;
    let text = |n: &str| doc.descendants().find(|e| e.has_tag_name(n)).and_then(|e| e.text()).unwrap_or_default().to_owned();
    let disks: Vec<String> = v.disks.iter().filter_map(|d| Some(format!("'format={},vdev={},access=rw,target={}'", d.format.clone().unwrap_or("raw".into()), d.target, d.source.clone()?))).collect();
    Ok(Config(format!("name='{}'\nuuid='{}'\nkernel='{}'\nramdisk='{}'\nextra='{}'\nmemory={}\nvcpus=1\ndisk=[{}]\n", v.name, v.uuid.unwrap_or_default(), text("kernel"), text("initrd"), text("cmdline"), v.memory_kib/1024, disks.join(","))))
}
pub fn check(xml: &str) -> Result<String> { Ok(xml.to_owned()) }
pub fn from_running(d: &serde_json::Value, _t: Option<&str>) -> Result<Option<Running>> {
    let c = &d["config"]; let s = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    if c["c_info"]["uuid"].is_null() { return Ok(None) }
    let disks: String = c["disks"].as_array().into_iter().flatten().map(|d| format!("<disk type='file' device='disk'><driver name='qemu' type='{}'/><source file='{}'/><target dev='{}' bus='xen'/></disk>", s(&d["format"]), s(&d["pdev_path"]), s(&d["vdev"]))).collect();
    Ok(Some(Running { xml: format!("<domain type='xen'><name>{}</name><uuid>{}</uuid><memory unit='KiB'>{}</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='xenpv'>linux</type><kernel>{}</kernel><initrd>{}</initrd><cmdline>{}</cmdline></os><devices>{disks}</devices></domain>", s(&c["c_info"]["name"]), s(&c["c_info"]["uuid"]), c["b_info"]["max_memkb"], s(&c["b_info"]["kernel"]), s(&c["b_info"]["ramdisk"]), s(&c["b_info"]["cmdline"])) }))
}
pub mod capabilities { use crate::error::Result;
 pub struct XlInfo; impl XlInfo { pub fn version_number(&self) -> u64 { 0 } }
 pub fn info(_: &str) -> XlInfo { XlInfo }
 pub fn host(_: &XlInfo) -> String { String::new() }
 pub fn domain(_: &XlInfo, _a: &str, _m: &str, _v: &str) -> Result<String> { Ok(String::new()) }
}
