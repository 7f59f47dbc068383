//! The side state of a domain outside of its snapshots: an NVRAM that a start makes anew, and what goes with the domain.
//!
//! Must not know: where it is.

use super::service::Inner;
use crate::error::{Error, Result};
use crate::model::flags::UndefineFlags;
use crate::model::ids::DomainId;
use crate::model::side_state::{SideState, SideStates};
use crate::plan::facts::FileKind;
use crate::xml::domain;

/// Flags that contradict each other.
pub(super) fn check_undefine(flags: UndefineFlags) -> Result<()> {
    if flags.contains(UndefineFlags::NVRAM | UndefineFlags::KEEP_NVRAM) {
        return Err(Error::invalid("cannot both keep and delete nvram"));
    }
    if flags.contains(UndefineFlags::TPM | UndefineFlags::KEEP_TPM) {
        return Err(Error::invalid("cannot both keep and delete TPM"));
    }
    Ok(())
}

impl Inner {
    /// What goes with the definition that is given up (`qemuDomainUndefineFlags`): refused while an NVRAM is there of which
    /// the call does not say what becomes. A TPM's state goes unless it is to stay.
    pub(super) async fn side_of_undefined(
        &self,
        id: DomainId,
        xml: &str,
        flags: UndefineFlags,
    ) -> Result<Vec<SideState>> {
        let side = self.host.side_state(id, xml).await?;
        let paths: Vec<_> = side.all.iter().map(|s| s.path().clone()).collect();
        let facts = self.host.look(&paths).await?;
        let stays = domain::view(xml)?.keeps_tpm && !flags.contains(UndefineFlags::TPM);
        let mut goes = Vec::new();
        for piece in side.all {
            if *facts.kind(piece.path()) == FileKind::Missing {
                continue;
            }
            match piece {
                SideState::Nvram(_) if flags.contains(UndefineFlags::NVRAM) => goes.push(piece),
                SideState::Nvram(_) if flags.contains(UndefineFlags::KEEP_NVRAM) => {}
                SideState::Nvram(_) => return Err(Error::invalid("cannot undefine domain with nvram")),
                SideState::Tpm(_) if stays || flags.contains(UndefineFlags::KEEP_TPM) => {}
                SideState::Tpm(_) => goes.push(piece),
            }
        }
        Ok(goes)
    }

    /// What belongs to the machine of a definition beside its disks.
    pub(super) async fn side_of(&self, id: DomainId, xml: Option<&str>) -> Result<SideStates> {
        match xml {
            Some(xml) => self.host.side_state(id, xml).await,
            None => Ok(SideStates::default()),
        }
    }

    /// A fresh NVRAM, for a domain that has one.
    pub(super) async fn reset_nvram(&self, id: DomainId, xml: &str) -> Result<()> {
        match self.host.side_state(id, xml).await?.nvram() {
            Some(nvram) => self.host.reset_nvram(nvram).await,
            None => Ok(()),
        }
    }
}
