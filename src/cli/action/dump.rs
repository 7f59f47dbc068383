//! A document to print, whole or what an XPath expression finds in it.

use super::super::args::Typed;
use super::super::failure::Failure;
use super::{security, text};
use crate::model::flags::XmlFlags;

/// What `dumpxml` and `snapshot-dumpxml` print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// `virDomainXMLFlags`, of which snapshots know SECURE.
    pub flags: XmlFlags,
    /// `--xpath`; `None`: the whole document.
    pub xpath: Option<String>,
    /// How matches are shown.
    pub matches: Matches,
}

/// How what an expression finds is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matches {
    /// One after the other.
    Listed,
    /// `--wrap`: below a common element `<nodes>`.
    Wrapped,
}

impl Dump {
    pub(super) fn from_typed(typed: &Typed) -> Result<Self, Failure> {
        let matches = if typed.has("wrap") { Matches::Wrapped } else { Matches::Listed };
        Ok(Self { flags: security(typed), xpath: text(typed, "xpath")?.map(str::to_owned), matches })
    }
}
