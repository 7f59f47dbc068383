//! The snapshot configuration file: its keys, and what they may say together.

use super::super::failure::Failure;
use crate::text::disk_spec::{DiskSpec, How};
use crate::text::xl::{self, Place, Setting, Value};

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `name`.
    pub name: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `save`: the memory's file, perhaps relative.
    pub save: Option<String>,
    /// `type`: of disks that say nothing themselves.
    pub kind: Option<Kind>,
    /// `live` or `disk_only`.
    pub mode: Option<Mode>,
    /// `disk`.
    pub disks: Vec<DiskSpec>,
}

/// Where disks are snapshotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In a tag within their image.
    Internal,
    /// In a new image over theirs.
    External,
}

/// What is left out of, or added to, a snapshot of memory and disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Memory and external disks, with the guest running again as soon as may be.
    Live,
    /// Without memory.
    DiskOnly,
}

/// Reads the text of `file`; an error names file, line and column.
pub fn read(file: &str, text: &str) -> Result<Config, Failure> {
    let settings = xl::parse(text).map_err(|wrong| Failure::new(format!("{file}:{wrong}")))?;
    let mut reader = Reader { file, config: Config::default(), kind_at: None, save_at: None, mode_at: None };
    for (i, setting) in settings.iter().enumerate() {
        if let Some(first) = settings[..i].iter().find(|s| s.key == setting.key) {
            let what = format!("'{}' is set twice, first at line {}", setting.key, first.place.line);
            return Err(reader.wrong(setting.place, &what));
        }
        reader.setting(setting)?;
    }
    reader.check()?;
    Ok(reader.config)
}

struct Reader<'f> {
    file: &'f str,
    config: Config,
    kind_at: Option<Place>,
    save_at: Option<Place>,
    mode_at: Option<Place>,
}

impl Reader<'_> {
    fn wrong(&self, place: Place, what: &str) -> Failure {
        Failure::new(format!("{}:{place}: {what}", self.file))
    }

    fn setting(&mut self, setting: &Setting) -> Result<(), Failure> {
        let at = setting.value_place;
        match setting.key.as_str() {
            "name" => self.config.name = Some(self.text(setting)?),
            "description" => self.config.description = Some(self.text(setting)?),
            // The service says when it was taken.
            "creationtime" => {
                if !matches!(&setting.value, Value::Integer(_) | Value::Text(_)) {
                    return Err(self.wrong(at, "'creationtime' must be a number"));
                }
            }
            "save" => {
                let path = self.text(setting)?;
                self.below(&path, at)?;
                self.config.save = Some(path);
                self.save_at = Some(at);
            }
            "type" => {
                self.config.kind = Some(match self.text(setting)?.as_str() {
                    "internal" => Kind::Internal,
                    "external" => Kind::External,
                    other => {
                        return Err(self.wrong(at, &format!("'type' is internal or external, not '{other}'")));
                    }
                });
                self.kind_at = Some(at);
            }
            "live" => self.mode(setting, Mode::Live)?,
            "disk_only" => self.mode(setting, Mode::DiskOnly)?,
            "disk" => self.disks(setting)?,
            key => return Err(self.wrong(setting.place, &format!("unknown key '{key}'"))),
        }
        Ok(())
    }

    fn text(&self, setting: &Setting) -> Result<String, Failure> {
        match &setting.value {
            Value::Text(text) if !text.is_empty() => Ok(text.clone()),
            Value::Text(_) => Err(self.wrong(setting.value_place, &format!("'{}' is empty", setting.key))),
            _ => Err(self.wrong(setting.value_place, &format!("'{}' must be a string", setting.key))),
        }
    }

    fn mode(&mut self, setting: &Setting, mode: Mode) -> Result<(), Failure> {
        match &setting.value {
            Value::Integer(0) => return Ok(()),
            Value::Integer(1) => {}
            _ => return Err(self.wrong(setting.value_place, &format!("'{}' is 0 or 1", setting.key))),
        }
        if self.config.mode.is_some() {
            return Err(self.wrong(setting.place, "'live' and 'disk_only' exclude each other"));
        }
        self.config.mode = Some(mode);
        self.mode_at = Some(setting.place);
        Ok(())
    }

    fn disks(&mut self, setting: &Setting) -> Result<(), Failure> {
        let Value::List(list) = &setting.value else {
            return Err(self.wrong(setting.value_place, "'disk' must be a list"));
        };
        for (value, place) in list {
            let Value::Text(spec) = value else {
                return Err(self.wrong(*place, "a disk must be a string"));
            };
            let disk = DiskSpec::parse(spec).map_err(|what| self.wrong(*place, &what))?;
            if let Some(file) = &disk.file {
                self.below(file, *place)?;
            }
            if self.config.disks.iter().any(|d| d.device == disk.device) {
                return Err(self.wrong(*place, &format!("disk '{}' is there twice", disk.device)));
            }
            self.config.disks.push(disk);
        }
        Ok(())
    }

    /// A relative name stays below the domain's directory.
    fn below(&self, path: &str, place: Place) -> Result<(), Failure> {
        if !path.starts_with('/') && path.split('/').any(|part| part == "..") {
            return Err(self.wrong(place, &format!("'{path}' leaves the domain's directory; use an absolute path")));
        }
        Ok(())
    }

    /// What contradicts each other within the file; an option may still win over either.
    fn check(&self) -> Result<(), Failure> {
        match (self.config.mode, self.mode_at) {
            (Some(Mode::Live), Some(at)) => {
                if self.config.kind == Some(Kind::Internal) {
                    return Err(self.wrong(self.kind_at.unwrap_or(at), "a live snapshot needs type external"));
                }
                if self.config.disks.iter().any(|d| d.how == Some(How::Internal)) {
                    return Err(self.wrong(at, "a live snapshot needs external disks"));
                }
            }
            (Some(Mode::DiskOnly), _) => {
                if let Some(at) = self.save_at {
                    return Err(self.wrong(at, "a snapshot of the disks only has no memory to save"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
