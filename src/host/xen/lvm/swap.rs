//! Replacing a volume by a snapshot of its tag: from what is there now to the commands that are left.
//!
//! Pure: nothing is run here, so that a test can stop after every command.
//!
//! Must not know: LVM's programs.

use super::group::{Group, Logical};
use super::names::{NAME, NEXT_OF, OURS, REPLACES, Role, escape};
use super::tool::{Activation, Command, Permission};
use crate::error::{Error, Result};

/// The two volumes of a replacement that was cut while none had the volume's name: what takes its place, and what had it.
pub(super) fn cut_between_names<'g>(group: &'g Group, volume: &str) -> Option<(&'g Logical, &'g Logical)> {
    if group.find(volume).is_some() {
        return None;
    }
    let next = next(group, volume)?;
    Some((next, aside(group, volume, next)?))
}

/// What was made to take the volume's place.
fn next<'g>(group: &'g Group, volume: &str) -> Option<&'g Logical> {
    group.find(&Role::Next.of(volume)).filter(|v| v.label(NEXT_OF) == Some(volume))
}

/// What gave its place to `by`: known by its UUID, and only under the name that was given to it.
fn aside<'g>(group: &'g Group, volume: &str, by: &Logical) -> Option<&'g Logical> {
    group
        .find(&Role::Aside.of(volume))
        .filter(|v| by.label(NEXT_OF) == Some(volume) && by.label(REPLACES) == Some(&v.uuid))
}

/// What brings the volume back to its tag of that name, from whatever an earlier call has left.
pub(super) fn commands(group: &Group, volume: &str, name: &str) -> Result<Vec<Command>> {
    let remove = |v: &Logical| Command::Remove { volume: v.name.clone() };
    if let Some((next, aside)) = cut_between_names(group, volume) {
        if next.label(NAME) == Some(&escape(name)) {
            return Ok(finish(next, aside, volume));
        }
        // It was to become another tag.
        let back = Command::Rename { from: aside.name.clone(), to: volume.to_owned() };
        let mut all = vec![back, remove(next)];
        all.extend(replace(group, aside, volume, name, &[next, aside])?);
        return Ok(all);
    }
    let Some(now) = group.find(volume) else {
        return Err(Error::invalid(format!("logical volume '{volume}' does not exist")));
    };
    if now.open {
        return Err(Error::invalid(format!("logical volume '{volume}' is in use")));
    }
    let leftovers: Vec<&Logical> = next(group, volume).into_iter().chain(aside(group, volume, now)).collect();
    let mut all: Vec<Command> = leftovers.iter().map(|v| remove(v)).collect();
    all.extend(replace(group, now, volume, name, &leftovers)?);
    Ok(all)
}

/// All of it, for `now`, which has the volume's name, once the leftovers have none of the names that are needed.
fn replace(group: &Group, now: &Logical, volume: &str, name: &str, leftovers: &[&Logical]) -> Result<Vec<Command>> {
    let Some(tag) = group.tag(volume, name) else {
        return Err(Error::invalid(format!("logical volume '{volume}' has no internal snapshot named '{name}'")));
    };
    let theirs = now.labels.iter().filter(|l| !l.starts_with(OURS)).cloned();
    let ours = [format!("{NEXT_OF}={volume}"), format!("{NAME}={}", escape(name)), format!("{REPLACES}={}", now.uuid)];
    let (next, aside) = (Role::Next.of(volume), Role::Aside.of(volume));
    let taken = |name: &&String| group.find(name).is_some_and(|v| !leftovers.contains(&v));
    if let Some(theirs) = [&next, &aside].into_iter().find(taken) {
        return Err(Error::invalid(format!("logical volume '{theirs}' is not ours but has a name that we need")));
    }
    let snapshot = Command::Snapshot {
        of: tag.name.clone(),
        name: next.clone(),
        permission: if now.read_only { Permission::Read } else { Permission::Write },
        activation: if now.skipped { Activation::Skipped } else { Activation::Normal },
        labels: theirs.chain(ours).collect(),
    };
    let volume = volume.to_owned();
    Ok(vec![
        snapshot,
        Command::Deactivate { volume: volume.clone() },
        Command::Rename { from: volume.clone(), to: aside.clone() },
        Command::Rename { from: next, to: volume.clone() },
        Command::Activate { volume },
        Command::Remove { volume: aside },
    ])
}

/// The end of it, from between the two names.
fn finish(next: &Logical, aside: &Logical, volume: &str) -> Vec<Command> {
    vec![
        Command::Rename { from: next.name.clone(), to: volume.to_owned() },
        Command::Activate { volume: volume.to_owned() },
        Command::Remove { volume: aside.name.clone() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::xen::lvm::{Activity, Device, VolumeName};

    /// Volumes with what is written on them: enough of LVM to cut a replacement anywhere.
    #[derive(Clone, Default)]
    struct Model {
        group: Group,
        /// UUID to content.
        written: Vec<(String, &'static str)>,
    }

    impl Model {
        fn with(content: &'static str) -> Self {
            let mut model = Self::default();
            model.add("disk", content, &["backup=daily"]);
            model.group.volumes[0].active = true;
            model
        }

        fn add(&mut self, name: &str, content: &'static str, labels: &[&str]) {
            assert!(self.group.find(name).is_none(), "{name} exists");
            let uuid = format!("uuid-{}", self.written.len());
            self.written.push((uuid.clone(), content));
            let labels = labels.iter().map(|l| (*l).to_owned()).collect();
            let (kind, pool) = ("thin".to_owned(), Some("pool".to_owned()));
            self.group.volumes.push(Logical {
                name: name.to_owned(),
                uuid,
                size: 1 << 20,
                pool,
                kind,
                active: false,
                open: false,
                read_only: false,
                skipped: false,
                labels,
            });
        }

        fn content(&self, name: &str) -> &'static str {
            let uuid = &self.group.find(name).unwrap_or_else(|| panic!("no {name}")).uuid;
            self.written.iter().find(|(u, _)| u == uuid).unwrap().1
        }

        fn write(&mut self, name: &str, content: &'static str) {
            let uuid = self.group.find(name).unwrap().uuid.clone();
            self.written.iter_mut().find(|(u, _)| *u == uuid).unwrap().1 = content;
        }

        fn run(&mut self, command: &Command) {
            match command {
                Command::Snapshot { of, name, labels, permission, activation } => {
                    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                    self.add(name, self.content(of), &labels);
                    let new = self.group.volumes.last_mut().unwrap();
                    new.read_only = *permission == Permission::Read;
                    new.skipped = *activation == Activation::Skipped;
                }
                Command::Deactivate { volume } => self.get(volume).active = false,
                Command::Activate { volume } => self.get(volume).active = true,
                Command::Rename { from, to } => {
                    assert!(self.group.find(to).is_none(), "{to} exists");
                    self.get(from).name.clone_from(to);
                }
                Command::Remove { volume } => {
                    let _exists = self.get(volume);
                    self.group.volumes.retain(|v| v.name != *volume);
                }
            }
        }

        fn get(&mut self, name: &str) -> &mut Logical {
            self.group.volumes.iter_mut().find(|v| v.name == name).unwrap_or_else(|| panic!("no {name}"))
        }

        fn apply(&mut self, tag: &str) {
            for command in commands(&self.group, "disk", tag).unwrap() {
                self.run(&command);
            }
        }

        /// Every state that a call cut after any of its commands leaves.
        fn cuts(&self, tag: &str) -> Vec<Self> {
            let all = commands(&self.group, "disk", tag).unwrap();
            (0..=all.len())
                .map(|count| {
                    let mut cut = self.clone();
                    all[..count].iter().for_each(|c| cut.run(c));
                    cut
                })
                .collect()
        }

        fn check(&self, content: &str) {
            assert_eq!(self.content("disk"), content);
            let disk = self.group.find("disk").unwrap();
            assert!(
                disk.active && !disk.read_only && !disk.skipped && disk.labels.contains(&"backup=daily".to_owned())
            );
            let tags: Vec<String> = self.group.tags("disk").into_iter().map(|t| t.name).collect();
            assert_eq!(tags, ["one", "two"]);
            assert_eq!(self.group.volumes.len(), 3, "nothing is left over");
            assert_eq!(["one", "two"].map(|t| self.content(&Role::Tag { name: t }.of("disk"))), ["first", "second"]);
        }
    }

    fn tagged() -> Model {
        let mut model = Model::with("first");
        model.run(&Command::tag("disk", "one"));
        model.write("disk", "second");
        model.run(&Command::tag("disk", "two"));
        model.write("disk", "third");
        model
    }

    #[test]
    fn a_call_cut_anywhere_and_repeated_brings_the_volume_back() {
        let mut states = 0;
        for cut in tagged().cuts("one") {
            for mut again in cut.cuts("one") {
                again.apply("one");
                again.check("first");
                states += 1;
            }
        }
        assert!(states > 40, "{states}");
    }

    #[test]
    fn a_call_cut_anywhere_may_be_followed_by_one_for_another_tag() {
        for cut in tagged().cuts("one") {
            for mut other in cut.cuts("two") {
                other.apply("two");
                other.check("second");
            }
        }
    }

    #[test]
    fn what_was_written_after_a_cut_is_not_kept() {
        for mut cut in tagged().cuts("one") {
            if cut.group.find("disk").is_some() {
                cut.write("disk", "after");
            }
            cut.apply("one");
            cut.check("first");
        }
    }

    #[test]
    fn a_cut_call_whose_tag_was_taken_anew_gives_the_new_one() {
        for mut cut in tagged().cuts("one").into_iter().filter(|c| c.group.find("disk").is_some()) {
            cut.run(&Command::Remove { volume: Role::Tag { name: "one" }.of("disk") });
            cut.write("disk", "newer");
            cut.run(&Command::tag("disk", "one"));
            cut.apply("one");
            assert_eq!(cut.content("disk"), "newer");
        }
    }

    #[test]
    fn a_volume_without_a_name_for_a_moment_is_a_device_all_the_same() {
        let name = VolumeName::new("vg", "disk").unwrap();
        let states: Vec<Activity> = tagged()
            .cuts("one")
            .iter()
            .map(|cut| match cut.group.device(&name) {
                Some(Device::Thin(volume)) => volume.activity,
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = "[Active, Active, Inactive, Replacing, Inactive, Active, Active]";
        assert_eq!(format!("{states:?}"), expected);
    }

    #[test]
    fn a_volume_in_use_and_an_unknown_tag_are_refused_before_anything_is_done() {
        let mut model = tagged();
        let error = |model: &Model, tag| commands(&model.group, "disk", tag).unwrap_err().to_string();
        let invalid = "Requested operation is not valid: logical volume 'disk'";
        assert_eq!(error(&model, "none"), format!("{invalid} has no internal snapshot named 'none'"));
        model.get("disk").open = true;
        assert_eq!(error(&model, "one"), format!("{invalid} is in use"));
        model.run(&Command::Remove { volume: "disk".into() });
        assert_eq!(error(&model, "one"), format!("{invalid} does not exist"));
    }

    #[test]
    fn a_volume_that_others_made_under_a_name_of_ours_is_left_alone() {
        for role in [Role::Next, Role::Aside] {
            let mut model = tagged();
            model.add(&role.of("disk"), "theirs", &[]);
            let error = commands(&model.group, "disk", "one").unwrap_err();
            assert!(error.to_string().contains("is not ours but has a name that we need"), "{error}");
        }
    }
}
