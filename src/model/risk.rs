//! What a revert may do to a running guest without being forced.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// Whether a revert that ends the running hypervisor for another one, or for none, needs FORCE.
///
/// `VIR_DOMAIN_SNAPSHOT_REVERT_FORCE` was planned for this in 2011 and refused it until libvirt 7.10, which stops every
/// hypervisor at every revert and asks nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum RiskyRevert {
    /// As libvirt 11.
    #[default]
    Allow,
    /// `VIR_ERR_SNAPSHOT_REVERT_RISKY`, unless it is forced.
    Refuse,
}

impl FromStr for RiskyRevert {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "allow" => Ok(Self::Allow),
            "refuse" => Ok(Self::Refuse),
            other => Err(format!("'{other}' is neither 'allow' nor 'refuse'")),
        }
    }
}

impl TryFrom<String> for RiskyRevert {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for RiskyRevert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
        })
    }
}
