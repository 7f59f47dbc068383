//! Watchdogs, sound cards, the TPM and the generation id.

use super::address::Pci;
use crate::error::{Error, Result};
use crate::host::strict::Strict;
use std::ops::Range;
use uuid::Uuid;

/// `<watchdog>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Watchdog {
    pub(crate) range: Range<usize>,
    pub(crate) model: WatchdogModel,
    /// QEMU's word for what happens when it is not patted.
    pub(crate) action: &'static str,
    pub(crate) pci: Option<Pci>,
}

/// `model=` of a watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchdogModel {
    I6300esb,
    Ib700,
    /// Part of a q35 board.
    Itco,
}

const ACTIONS: &[(&str, &str)] = &[
    ("reset", "reset"),
    ("shutdown", "shutdown"),
    ("poweroff", "poweroff"),
    ("pause", "pause"),
    ("none", "none"),
    ("inject-nmi", "inject-nmi"),
];

impl Watchdog {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.ignore(&["alias"]);
        e.need("model")?;
        let models =
            [("i6300esb", WatchdogModel::I6300esb), ("ib700", WatchdogModel::Ib700), ("itco", WatchdogModel::Itco)];
        let Some(model) = e.one_of("model", &models)? else { return Err(e.refuse()) };
        let action = e.one_of("action", ACTIONS)?.unwrap_or("reset");
        let pci = if model == WatchdogModel::I6300esb { Pci::read(&mut e)? } else { None };
        let watchdog = Self { range: e.range(), model, action, pci };
        e.finish()?;
        Ok(watchdog)
    }
}

/// `<sound>`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sound {
    pub(crate) range: Range<usize>,
    pub(crate) model: SoundModel,
    /// The codecs of a high-definition card, QEMU's names.
    pub(crate) codecs: Vec<&'static str>,
    pub(crate) pci: Option<Pci>,
}

/// `model=` of a sound card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SoundModel {
    Ich6,
    Ich9,
    Ac97,
    Es1370,
    Sb16,
}

impl Sound {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.ignore(&["alias"]);
        e.need("model")?;
        let models = [
            ("ich6", SoundModel::Ich6),
            ("ich9", SoundModel::Ich9),
            ("ac97", SoundModel::Ac97),
            ("es1370", SoundModel::Es1370),
            ("sb16", SoundModel::Sb16),
        ];
        let Some(model) = e.one_of("model", &models)? else { return Err(e.refuse()) };
        let mut codecs = Vec::new();
        if model.is_hda() {
            let kinds = [("duplex", "hda-duplex"), ("micro", "hda-micro"), ("output", "hda-output")];
            for mut c in e.children("codec") {
                let Some(codec) = c.one_of("type", &kinds)? else { return Err(c.refuse()) };
                codecs.push(codec);
                c.finish()?;
            }
            if codecs.is_empty() {
                codecs.push("hda-duplex");
            }
        }
        if let Some(mut a) = e.child("audio")? {
            // There is one audio device, and it is silent.
            a.ignore_attrs(&["id"]);
            a.finish()?;
        }
        let pci = if model == SoundModel::Sb16 { None } else { Pci::read(&mut e)? };
        let sound = Self { range: e.range(), model, codecs, pci };
        e.finish()?;
        Ok(sound)
    }
}

impl SoundModel {
    pub(crate) fn is_hda(self) -> bool {
        matches!(self, Self::Ich6 | Self::Ich9)
    }
}

/// `<tpm>` with an emulator behind it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tpm {
    /// QEMU's name of the device.
    pub(crate) device: &'static str,
}

impl Tpm {
    pub(crate) fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.ignore(&["alias"]);
        let device = e.one_of("model", &[("tpm-crb", "tpm-crb"), ("tpm-tis", "tpm-tis")])?.unwrap_or("tpm-tis");
        let Some(mut b) = e.child("backend")? else {
            return Err(Error::config(format!("missing TPM device backend ({})", e.place())));
        };
        b.need("type")?;
        b.only("type", &["emulator"])?;
        b.only("version", &["2.0"])?;
        // Read by the engine, which removes the state with the domain or does not.
        b.only("persistent_state", &["yes", "no"])?;
        b.finish()?;
        e.finish()?;
        Ok(Self { device })
    }
}

/// `<genid>`: `None` until `define` has made one.
pub(crate) fn genid(e: Strict<'_, '_>) -> Result<Option<Uuid>> {
    let id = e.parse_text()?;
    e.finish()?;
    Ok(id)
}
