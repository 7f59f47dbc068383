//! The guest's firmware: the machine's own BIOS, another BIOS image, or UEFI in a flash chip.
//!
//! ```text
//!   <os firmware='efi'>             Wanted ──define (descriptors)──▶ Flash
//!   <loader type='pflash'>path      Flash: code, and <nvram> with the variables
//!   <loader type='rom'>path         Rom
//! ```
//!
//! Must not know: which firmware this host has.

use crate::error::{Error, Result};
use crate::host::strict::Strict;
use crate::model::ids::Image;
use crate::model::side_state::{Nvram, Template};
use camino::Utf8PathBuf;

/// What the machine starts from.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Firmware {
    /// The machine type's own BIOS.
    #[default]
    Own,
    /// A BIOS image.
    Rom(String),
    /// Any UEFI of this host that has these features; `define` chooses one.
    Wanted(Wanted),
    /// UEFI.
    Flash(Flash),
}

/// `<firmware><feature>`: what a UEFI must, and must not, be.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Wanted {
    pub(crate) secure_boot: Option<bool>,
    pub(crate) enrolled_keys: Option<bool>,
    pub(crate) nvram: Option<NvramWish>,
}

/// UEFI's code, and where its variables are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flash {
    pub(crate) code: Image,
    /// Only code in system management mode may write to the variables.
    pub(crate) secure: bool,
    /// `stateless='yes'`, or a firmware that keeps its variables in its own image.
    pub(crate) no_nvram: bool,
    /// What is said of the variables; `None`: nothing.
    pub(crate) nvram: Option<NvramWish>,
}

/// `<nvram>` as written; `define` completes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct NvramWish {
    pub(crate) path: Option<Utf8PathBuf>,
    pub(crate) format: Option<&'static str>,
    pub(crate) template: Option<Utf8PathBuf>,
    pub(crate) template_format: Option<&'static str>,
}

pub(crate) const FORMATS: &[(&str, &str)] = &[("raw", "raw"), ("qcow2", "qcow2")];

impl Firmware {
    pub(crate) fn read(os: &mut Strict<'_, '_>) -> Result<Self> {
        let automatic = os.one_of("firmware", &[("efi", true), ("bios", false)])?;
        let features = features(os)?;
        let nvram = os.child("nvram")?.map(NvramWish::read).transpose()?;
        let loader = os.child("loader")?;
        let flash = match loader {
            None => None,
            Some(mut l) => {
                let pflash = l.one_of("type", &[("rom", false), ("pflash", true)])?.unwrap_or(false);
                l.only("readonly", if pflash { &["yes", "no"] } else { &["yes"] })?;
                let read_only = l.switch("readonly")?;
                let secure = l.switch("secure")?.unwrap_or(false);
                let stateless = l.switch("stateless")?.unwrap_or(false);
                let format = l.one_of("format", FORMATS)?.unwrap_or("raw");
                let text = l.text().map(str::to_owned);
                let found = match text {
                    // libvirt writes `<loader secure='no'/>` for a firmware that is yet to be chosen.
                    None => None,
                    Some(path) if !path.starts_with('/') => return Err(l.refuse_text()),
                    Some(path) if !pflash => Some(Self::Rom(path)),
                    Some(_) if pflash && read_only == Some(false) => return Err(l.refuse_value("readonly")),
                    Some(path) => Some(Self::Flash(Flash {
                        code: Image { path: path.into(), format: format.to_owned() },
                        secure,
                        no_nvram: stateless,
                        nvram: nvram.clone(),
                    })),
                };
                if secure && matches!(found, Some(Self::Rom(_))) {
                    return Err(l.refuse_value("secure"));
                }
                l.finish()?;
                found
            }
        };
        match (flash, automatic) {
            (Some(flash), _) => Ok(flash),
            (None, Some(true)) => Ok(Self::Wanted(Wanted { nvram, ..features })),
            (None, _) if nvram.is_some() => Err(Error::config("NVRAM is not permitted when firmware path is absent")),
            (None, _) => Ok(Self::Own),
        }
    }

    /// The variables that a start needs, once `define` has completed what is written.
    pub(crate) fn nvram(&self) -> Option<Nvram> {
        let Self::Flash(flash) = self else { return None };
        let wish = flash.nvram.as_ref()?;
        let template = wish
            .template
            .clone()
            .map(|path| Template { path, format: wish.template_format.unwrap_or("raw").to_owned() });
        let image = Image { path: wish.path.clone()?, format: wish.format.unwrap_or("raw").to_owned() };
        Some(Nvram { image, template })
    }
}

fn features(os: &mut Strict<'_, '_>) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    if let Some(mut f) = os.child("firmware")? {
        for mut feature in f.children("feature") {
            let on = feature.switch("enabled")?;
            match feature.need("name")? {
                "secure-boot" => wanted.secure_boot = on,
                "enrolled-keys" => wanted.enrolled_keys = on,
                _ => return Err(feature.refuse_value("name")),
            }
            feature.finish()?;
        }
        f.finish()?;
    }
    Ok(wanted)
}

impl NvramWish {
    fn read(mut e: Strict<'_, '_>) -> Result<Self> {
        e.only("type", &["file"])?;
        let mut path = e.text().map(str::to_owned);
        if let Some(mut s) = e.child("source")? {
            path = Some(s.need("file")?.to_owned());
            s.ignore(&["seclabel"]);
            s.finish()?;
        }
        if path.as_ref().is_some_and(|p| !p.starts_with('/')) {
            return Err(e.refuse_text());
        }
        let wish = Self {
            path: path.map(Utf8PathBuf::from),
            format: e.one_of("format", FORMATS)?,
            template: e.attr("template").filter(|t| !t.is_empty()).map(Utf8PathBuf::from),
            template_format: e.one_of("templateFormat", FORMATS)?,
        };
        e.finish()?;
        Ok(wish)
    }
}
