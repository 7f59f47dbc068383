//! Prepare steps and their inverses.

use super::world::{Body, ImageBody};
use super::{Note, SimHost};
use crate::error::{Error, Result};
use crate::model::ids::{Instance, OpId};
use crate::plan::facts::{LiveSave, SaveFrom};
use crate::plan::steps::{Existing, Prepare, SwitchDisk};
use camino::Utf8Path;

const DEVICE: u64 = 1;

impl SimHost {
    pub(super) async fn do_prepare(&self, _op: OpId, step: &Prepare) -> Result<Option<Note>> {
        match step {
            Prepare::Reserve { path, existing } => return self.reserve(path, *existing).await.map(Some),
            Prepare::Format { image, backing } => {
                self.point("format: begin").await?;
                self.world().refuse_open(&image.path)?;
                self.world().set_body(&image.path, Body::Garbage)?;
                self.point("format: end").await?;
                let body = ImageBody::new(&image.format, Some(backing.clone()));
                self.world().set_body(&image.path, Body::Image(body))?;
            }
            Prepare::Sync { path } => {
                self.point("sync").await?;
                self.world().body(path)?;
                self.world().sync(path);
            }
            Prepare::AddNodes { instance, disks } => {
                for disk in disks {
                    self.point("add node").await?;
                    let mut world = self.world();
                    world.image(&disk.overlay.path)?;
                    let ino = world.ino(&disk.overlay.path);
                    let guest = world.guest_mut(*instance)?;
                    guest.nodes.extend(ino.map(|i| (disk.node.clone(), i)));
                }
            }
            Prepare::Freeze { instance } => {
                self.point("freeze").await?;
                let mut world = self.world();
                let guest = world.guest_mut(*instance)?;
                if !guest.running {
                    return Err(Error::failed("the guest agent does not answer"));
                }
                guest.frozen = true;
            }
            Prepare::Pause { instance } => {
                self.point("pause").await?;
                self.world().guest_mut(*instance)?.running = false;
            }
            Prepare::SaveMemory { instance, path, .. } => {
                self.point("save memory: begin").await?;
                self.world().set_body(path, Body::Garbage)?;
                if self.capabilities.save_from == SaveFrom::Running {
                    self.point("save memory: suspend").await?;
                    self.world().guest_mut(*instance)?.running = false;
                }
                self.point("save memory: end").await?;
                let mut world = self.world();
                let guest = world.guest_mut(*instance)?;
                if guest.running {
                    return Err(Error::internal("the guest runs while its memory is saved"));
                }
                let counter = guest.counter;
                world.set_body(path, Body::Memory(counter))?;
            }
            Prepare::LiveSave { instance, path, disks, .. } => self.live_save(*instance, path, disks).await?,
            Prepare::AwaitSave { instance, path } => {
                self.point("await save").await?;
                let mut world = self.world();
                let Some((_, counter)) = world.guest_mut(*instance)?.saving.take() else {
                    return Err(Error::failed("no save is running"));
                };
                world.set_body(path, Body::Memory(counter))?;
            }
            Prepare::SaveTag { instance, tag, vmstate, images } => {
                self.point("save tag: begin").await?;
                let was_running = {
                    let mut world = self.world();
                    for image in images {
                        if world.tag(&image.path, tag).is_ok() {
                            return Err(Error::failed(format_args!("'{}' has a tag '{tag}'", image.path)));
                        }
                    }
                    std::mem::replace(&mut world.guest_mut(*instance)?.running, false)
                };
                let saved =
                    self.save_tags(*instance, tag, &vmstate.path, images.iter().map(|i| i.path.as_path())).await;
                // QEMU itself goes on, whatever its job came to, and whether anyone listens.
                if let Ok(guest) = self.world().guest_mut(*instance) {
                    guest.running = was_running;
                }
                saved?;
                self.point("save tag: end").await?;
            }
            Prepare::TagDisks { instance, images, tag } => {
                for image in images {
                    self.point("tag disk").await?;
                    let mut world = self.world();
                    if world.guest_mut(*instance)?.running {
                        world.violations.push(format!("'{}' was tagged while the guest ran", image.path));
                    }
                    world.add_tag(&image.path, tag, None)?;
                    world.sync(&image.path);
                }
                self.point("tag disks: end").await?;
            }
            Prepare::MakeNvram { nvram } => {
                self.point("make nvram").await?;
                self.world().provide(&nvram.image);
            }
            Prepare::CopySide { of, to, .. } => {
                self.point("copy: begin").await?;
                self.world().unlink(to);
                self.world().create(to)?;
                self.world().set_body(to, Body::Garbage)?;
                self.point("copy: end").await?;
                let mut copy = ImageBody::new("raw", None);
                copy.blocks = self.world().content(of.path())?;
                self.world().set_body(to, Body::Image(copy))?;
                self.world().sync(to);
            }
            Prepare::Start(_) => return Err(Error::internal("this step is the engine's")),
            Prepare::CreateTag { image, tag } => {
                self.point("create tag").await?;
                self.world().refuse_open(&image.path)?;
                self.world().add_tag(&image.path, tag, None)?;
            }
        }
        Ok(None)
    }

    async fn reserve(&self, path: &Utf8Path, existing: Existing) -> Result<Note> {
        self.point("reserve").await?;
        let mut world = self.world();
        let inode = match existing {
            Existing::Refuse => world.create(path)?,
            Existing::AdoptEmpty => match (world.body(path)?, world.ino(path)) {
                (Body::Empty, Some(ino)) => ino,
                _ => return Err(Error::failed(format_args!("'{path}' is not empty"))),
            },
        };
        Ok(Note { device: DEVICE, inode })
    }

    async fn save_tags(
        &self,
        instance: Instance,
        tag: &str,
        vmstate: &Utf8Path,
        images: impl Iterator<Item = &Utf8Path>,
    ) -> Result<()> {
        let counter = self.world().guest_mut(instance)?.counter;
        for image in images {
            // Inside QEMU: if the daemon dies the job goes on, so only QEMU's own end cuts it short.
            if self.strike("save tag: image").is_err_and(|e| e.is_some()) {
                return Err(Error::failed("simulated: the job failed"));
            }
            let mut world = self.world();
            world.guest_mut(instance)?;
            world.add_tag(image, tag, (image == vmstate).then_some(counter))?;
        }
        Ok(())
    }

    /// A save that fails leaves everything to its undo, the resume too.
    async fn live_save(&self, instance: Instance, path: &Utf8Path, disks: &[SwitchDisk]) -> Result<()> {
        if self.capabilities.live == LiveSave::Precopy {
            self.point("live save: copy ahead").await?;
            self.world().set_body(path, Body::Garbage)?;
        }
        self.point("live save: pause").await?;
        self.world().guest_mut(instance)?.running = false;
        self.point("live save: switch").await?;
        self.world().switch(instance, disks)?;
        self.point("live save: start").await?;
        self.world().begin_save(instance, path)?;
        self.point("live save: resume").await?;
        self.world().guest_mut(instance)?.running = true;
        self.point("live save: end").await
    }

    pub(super) async fn do_undo(&self, _op: OpId, step: &Prepare, note: Option<&Note>) -> Result<()> {
        match step {
            Prepare::Reserve { path, existing } => {
                self.point("undo reserve").await?;
                let mut world = self.world();
                let Ok(body) = world.body(path) else { return Ok(()) };
                let ours = match note {
                    Some(note) => world.ino(path) == Some(note.inode),
                    None => *body == Body::Empty,
                };
                if !ours {
                    return Ok(());
                }
                if world.is_open(path) {
                    world.violations.push(format!("undo takes '{path}' from a hypervisor that has it open"));
                }
                match existing {
                    Existing::Refuse => world.unlink(path),
                    Existing::AdoptEmpty if note.is_some() => {
                        world.set_body(path, Body::Empty)?;
                        world.sync(path);
                    }
                    Existing::AdoptEmpty => {}
                }
                Ok(())
            }
            Prepare::Format { .. } | Prepare::Sync { .. } | Prepare::AwaitSave { .. } => Ok(()),
            Prepare::Start(_) => Err(Error::internal("this step is the engine's")),
            Prepare::AddNodes { instance, disks } => {
                for disk in disks {
                    self.point("undo add node").await?;
                    if let Ok(guest) = self.world().guest_mut(*instance) {
                        guest.nodes.remove(&disk.node);
                    }
                }
                Ok(())
            }
            Prepare::Freeze { instance } => {
                self.point("undo freeze").await?;
                if let Ok(guest) = self.world().guest_mut(*instance) {
                    guest.frozen = false;
                }
                Ok(())
            }
            Prepare::Pause { instance } => {
                self.point("undo pause").await?;
                if let Ok(guest) = self.world().guest_mut(*instance) {
                    guest.running = true;
                }
                Ok(())
            }
            Prepare::SaveMemory { instance, was_running, .. } => {
                self.point("undo save memory").await?;
                if self.capabilities.save_from == SaveFrom::Running
                    && let Ok(guest) = self.world().guest_mut(*instance)
                {
                    guest.running = *was_running;
                }
                Ok(())
            }
            Prepare::LiveSave { instance, disks, .. } => self.undo_live_save(*instance, disks).await,
            Prepare::SaveTag { tag, images, .. } | Prepare::TagDisks { tag, images, .. } => {
                for image in images {
                    self.point("undo save tag").await?;
                    self.world().remove_tag(&image.path, tag)?;
                }
                Ok(())
            }
            Prepare::MakeNvram { .. } => Ok(()),
            Prepare::CopySide { to, .. } => {
                self.point("undo copy").await?;
                self.world().unlink(to);
                Ok(())
            }
            Prepare::CreateTag { image, tag } => {
                self.point("undo create tag").await?;
                self.world().refuse_open(&image.path)?;
                self.world().remove_tag(&image.path, tag)
            }
        }
    }

    /// By the pivot rule. An overlay that was merged is blanked before the guest may write below
    /// it: a second commit of it would overwrite what the guest has flushed since.
    async fn undo_live_save(&self, instance: Instance, disks: &[SwitchDisk]) -> Result<()> {
        self.point("undo live save: cancel").await?;
        if let Ok(guest) = self.world().guest_mut(instance) {
            guest.saving = None;
        }
        self.point("undo live save: pause").await?;
        if let Ok(guest) = self.world().guest_mut(instance) {
            guest.running = false;
        }
        for disk in disks {
            self.merge_back(instance, disk).await?;
        }
        self.point("undo live save: resume").await?;
        if let Ok(guest) = self.world().guest_mut(instance) {
            guest.running = true;
        }
        Ok(())
    }

    async fn merge_back(&self, instance: Instance, disk: &SwitchDisk) -> Result<()> {
        let (top, base) = (&disk.overlay.path, &disk.old.path);
        self.point("undo live save: merge, half").await?;
        // A hypervisor that does not have the overlay active was never switched, or has left it.
        let done = {
            let mut world = self.world();
            let alive = world.guests.contains_key(&instance);
            let done = world.image(top).is_err() || (alive && !world.is_active(instance, &disk.target, top));
            if !done {
                world.copy_down(top, base, true)?;
            }
            done
        };
        if !done {
            self.point("undo live save: merge").await?;
            self.world().copy_down(top, base, false)?;
            self.point("undo live save: pivot").await?;
            if self.world().guests.contains_key(&instance) {
                self.world().drop_layer(instance, &disk.target, top, &disk.old)?;
            }
        }
        self.point("undo live save: blank").await?;
        let mut world = self.world();
        if world.body(top).is_ok_and(|b| *b != Body::Empty) {
            world.blank(disk)?;
        }
        Ok(())
    }
}
