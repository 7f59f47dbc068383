//! Settle steps: each may have run before, whole or in part.

use super::SimHost;
use super::world::Body;
use crate::error::{Error, Result};
use crate::model::ids::{DiskTarget, Image, Instance, OpId};
use crate::plan::steps::Settle;
use camino::Utf8Path;

impl SimHost {
    pub(super) async fn do_settle(&self, _op: OpId, step: &Settle) -> Result<()> {
        match step {
            Settle::Publish(_) | Settle::Start(_) => Err(Error::internal("this step is the engine's")),
            Settle::Resume { instance, .. } => self.if_there(*instance, "settle: resume", |g| g.running = true).await,
            Settle::Pause { instance } => self.if_there(*instance, "settle: pause", |g| g.running = false).await,
            Settle::Thaw { instance } => self.if_there(*instance, "settle: thaw", |g| g.frozen = false).await,
            Settle::Stop { instance } => {
                self.point("stop").await?;
                self.world().end(*instance);
                self.point("stop: end").await
            }
            Settle::Reload(start) => {
                self.point("reload: stop").await?;
                self.world().guest_mut(start.instance)?.running = false;
                self.point("reload: load").await?;
                self.world().reload(start)?;
                self.point("reload: end").await
            }
            Settle::ApplyTag { image, tag } => {
                self.point("apply tag").await?;
                self.world().refuse_open(&image.path)?;
                self.world().apply_tag(&image.path, tag)?;
                self.point("apply tag: end").await
            }
            Settle::RemoveTag { instance, images, tag } => {
                for image in images {
                    self.point("remove tag").await?;
                    let mut world = self.world();
                    if !instance.is_some_and(|i| world.guests.contains_key(&i)) {
                        world.refuse_open(&image.path)?;
                    }
                    world.remove_tag(&image.path, tag)?;
                }
                Ok(())
            }
            Settle::MergeDown { instance, target, top, base } => self.merge_down(*instance, target, top, base).await,
            Settle::MergeActive { instance, target, top, base } => {
                self.point("merge active: half").await?;
                if !self.world().is_active(*instance, target, &top.path) {
                    return Ok(());
                }
                self.refuse_shared(&base.path, &top.path);
                self.world().copy_down(&top.path, &base.path, true)?;
                self.point("merge active: ready").await?;
                let mut world = self.world();
                if let Some(guest) = world.guests.get_mut(instance) {
                    guest.merging.insert(target.clone());
                    world.copy_down(&top.path, &base.path, false)?;
                }
                Ok(())
            }
            Settle::Pivot { instance, target, top, base } => self.pivot(*instance, target, top, base).await,
            Settle::PullUp { instance, image, from: _, onto } => {
                self.point("pull up").await?;
                let alive = instance.is_some_and(|i| self.world().guests.contains_key(&i));
                if !alive {
                    self.world().refuse_open(&image.path)?;
                }
                let backing = self.world().image(&image.path)?.backing.clone();
                if backing.map(|b| b.path) == onto.as_ref().map(|o| o.path.clone()) {
                    return Ok(());
                }
                self.world().copy_up(&image.path, onto.as_ref())?;
                self.point("pull up: name the new backing file").await?;
                self.world().set_backing(&image.path, onto.as_ref())?;
                self.point("pull up: end").await
            }
            Settle::Repoint { image, backing } => {
                self.point("repoint").await?;
                let mut world = self.world();
                if world.image(&image.path)?.backing.as_ref() == Some(backing) {
                    return Ok(());
                }
                world.refuse_open(&image.path)?;
                let before = world.content(&image.path);
                world.set_backing(&image.path, Some(backing))?;
                if before.is_ok_and(|b| world.content(&image.path).ok() != Some(b)) {
                    world
                        .violations
                        .push(format!("'{}' lies on '{}' now, and has another content", image.path, backing.path));
                }
                Ok(())
            }
            Settle::RestoreSide { of, from } => {
                self.point("restore: half").await?;
                self.world().refuse_open(of.path())?;
                let blocks = self.world().content(from)?;
                self.world().image_mut(of.path())?.blocks.clear();
                self.point("restore: all").await?;
                self.world().image_mut(of.path())?.blocks = blocks;
                self.world().sync(of.path());
                self.point("restore: end").await
            }
            Settle::ResetNvram { nvram } => {
                self.point("reset nvram").await?;
                self.world().refuse_open(&nvram.image.path)?;
                self.world().image_mut(&nvram.image.path)?.blocks.clear();
                self.world().sync(&nvram.image.path);
                self.point("reset nvram: end").await
            }
            Settle::DropSide { path } => {
                self.point("drop a copy").await?;
                self.world().unlink(path);
                self.point("drop a copy: end").await
            }
            Settle::Unlink { path } => {
                self.point("unlink").await?;
                self.world().unlink_unused(path)?;
                self.point("unlink: end").await
            }
        }
    }

    async fn if_there(
        &self,
        instance: Instance,
        what: &str,
        change: impl FnOnce(&mut super::Guest) + Send,
    ) -> Result<()> {
        self.point(what).await?;
        if let Some(guest) = self.world().guests.get_mut(&instance) {
            change(guest);
        }
        self.point(&format!("{what}: end")).await
    }

    /// Everything else that lies on `base` would change with it.
    fn refuse_shared(&self, base: &Utf8Path, top: &Utf8Path) {
        let mut world = self.world();
        let other = world.lying_on(base).find(|p| *p != top).cloned();
        if let Some(other) = other {
            world.violations.push(format!("'{top}' was merged into '{base}', on which '{other}' lies too"));
        }
    }

    async fn merge_down(
        &self,
        instance: Option<Instance>,
        target: &DiskTarget,
        top: &Image,
        base: &Image,
    ) -> Result<()> {
        self.point("merge: half").await?;
        let running = instance.filter(|i| self.world().guests.contains_key(i));
        match running {
            // Its job is done and the layer gone from the chain.
            Some(i) if !self.world().has_layer(i, target, &top.path) => return Ok(()),
            Some(_) => {}
            None => {
                self.world().refuse_open(&top.path)?;
                self.world().refuse_open(&base.path)?;
            }
        }
        if self.world().image(&top.path)?.backing.as_ref().map(|b| &b.path) != Some(&base.path) {
            return Err(Error::failed(format_args!("'{}' does not lie on '{}'", top.path, base.path)));
        }
        self.world().copy_down(&top.path, &base.path, true)?;
        self.point("merge: all").await?;
        // The hypervisor may have gone meanwhile; the next call does it without.
        if let Some(i) = running {
            self.world().guest_mut(i)?;
        }
        self.world().copy_down(&top.path, &base.path, false)?;
        self.point("merge: leave the layer").await?;
        if let Some(i) = running {
            self.world().drop_layer(i, target, &top.path, base)?;
            self.end_point("merge: end").await?;
        }
        Ok(())
    }

    async fn pivot(&self, instance: Instance, target: &DiskTarget, top: &Image, base: &Image) -> Result<()> {
        self.point("pivot").await?;
        let state = self.world().guests.get(&instance).map(|g| (g.running, g.merging.contains(target)));
        match state {
            None if self.world().body(&top.path).is_ok_and(|b| *b == Body::Empty) => return Ok(()),
            None => {
                self.world().refuse_open(&base.path)?;
                self.world().copy_down(&top.path, &base.path, true)?;
                self.point("pivot: commit").await?;
                self.world().copy_down(&top.path, &base.path, false)?;
            }
            Some(_) if !self.world().is_active(instance, target, &top.path) => {}
            Some((_, false)) => return Err(Error::failed(format_args!("no merge of '{target}' is ready"))),
            Some((running, true)) => {
                let mut world = self.world();
                if running {
                    world.violations.push(format!("'{target}' left its active layer while the guest ran"));
                }
                world.copy_down(&top.path, &base.path, false)?;
                world.drop_layer(instance, target, &top.path, base)?;
                world.guest_mut(instance)?.merging.remove(target);
            }
        }
        // What was left is emptied, so that it can't be committed again.
        self.point("pivot: empty the layer").await?;
        if self.world().is_active(instance, target, &top.path) {
            return Err(Error::failed("the layer is still active"));
        }
        self.world().empty(&top.path)?;
        self.point("pivot: end").await
    }
}
