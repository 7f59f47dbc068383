#![allow(missing_docs)]
use crate::error::Result;
pub struct Config(String);
impl std::fmt::Display for Config { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) } }
pub struct Running { pub xml: String }
pub fn to_config(xml: &str) -> Result<Config> { Ok(Config(xml.to_owned())) }
pub fn check(xml: &str) -> Result<String> { Ok(xml.to_owned()) }
pub fn from_running(_d: &serde_json::Value, _t: Option<&str>) -> Result<Option<Running>> { Ok(None) }
pub mod capabilities { use crate::error::Result;
 pub struct XlInfo; impl XlInfo { pub fn version_number(&self) -> u64 { 0 } }
 pub fn info(_: &str) -> XlInfo { XlInfo }
 pub fn host(_: &XlInfo) -> String { String::new() }
 pub fn domain(_: &XlInfo, _a: &str, _m: &str, _v: &str) -> Result<String> { Ok(String::new()) }
}
