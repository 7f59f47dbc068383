//! `<features>`, `<cpu>` and `<clock>`.

use super::Config;
use super::guest::Guest;
use super::keys::Keys;
use super::markup::Markup;
use crate::error::Result;
use crate::host::strict::Strict;

/// What an element of `<features>` does to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// There: 1. Not there: 0. Xen's default is 1.
    Presence,
    /// There: 1. Not there: not said.
    Wish,
    /// `state='on|off'`. Not there: not said.
    State,
}

/// Each feature, which is called the same on both sides, and the guests that have it.
const FEATURES: [(&str, Meaning, &[Guest]); 7] = [
    ("pae", Meaning::Presence, &[Guest::Hvm]),
    ("acpi", Meaning::Presence, &[Guest::Hvm]),
    ("acpi", Meaning::Wish, &[Guest::Pvh]),
    ("apic", Meaning::Presence, &[Guest::Hvm]),
    ("apic", Meaning::Wish, &[Guest::Pvh]),
    ("hap", Meaning::State, &[Guest::Hvm, Guest::Pvh]),
    ("viridian", Meaning::Wish, &[Guest::Hvm]),
];
/// The host's memory map for PV guests, `<xen><e820_host state>`.
const E820: &str = "e820_host";
const OFFSETS: [(&str, u64); 2] = [("utc", 0), ("localtime", 1)];

fn features(guest: Guest) -> impl Iterator<Item = (&'static str, Meaning)> {
    FEATURES.into_iter().filter(move |f| f.2.contains(&guest)).map(|f| (f.0, f.1))
}

pub(super) fn read(e: &mut Strict<'_, '_>, guest: Guest, config: &mut Config) -> Result<()> {
    let mut all = e.child("features")?;
    for (name, meaning) in features(guest) {
        let mut found = match &mut all {
            Some(all) => all.child(name)?,
            None => None,
        };
        let state = match &mut found {
            Some(f) if meaning == Meaning::State => Some(f.switch("state")?.unwrap_or(true)),
            Some(_) => Some(true),
            None => (meaning == Meaning::Presence).then_some(false),
        };
        if let Some(state) = state {
            config.set(name, u64::from(state));
        }
        if let Some(f) = found {
            f.finish()?;
        }
    }
    if let Some(mut all) = all {
        if guest == Guest::Pv
            && let Some(mut xen) = all.child("xen")?
        {
            if let Some(mut map) = xen.child(E820)? {
                config.set(E820, u64::from(map.switch("state")?.unwrap_or(true)));
                map.finish()?;
            }
            xen.finish()?;
        }
        all.finish()?;
    }
    if let Some(mut cpu) = e.child("cpu")? {
        cpu.need("mode")?;
        cpu.only("mode", &["host-passthrough"])?;
        cpu.only("check", &["none"])?;
        cpu.only("migratable", &["on"])?;
        cpu.finish()?;
    }
    if let Some(clock) = e.child("clock")? {
        read_clock(clock, config)?;
    }
    Ok(())
}

fn read_clock(mut clock: Strict<'_, '_>, config: &mut Config) -> Result<()> {
    clock.need("offset")?;
    let local = if clock.attr("offset") == Some("variable") {
        let seconds = clock.attr("adjustment").unwrap_or("0");
        if seconds.parse::<i64>().is_err() {
            return Err(clock.malformed("adjustment"));
        }
        if seconds != "0" {
            config.set("rtc_timeoffset", seconds);
        }
        clock.one_of("basis", &OFFSETS)?
    } else {
        clock.only("adjustment", &["reset"])?;
        clock.one_of("offset", &OFFSETS)?
    };
    config.set("localtime", local.unwrap_or(0));
    clock.finish()
}

pub(super) fn write(keys: &mut Keys<'_>, guest: Guest, xml: &mut Markup) -> Result<()> {
    let mut states = Vec::new();
    for (name, meaning) in features(guest) {
        let value = keys.get(name).and_then(super::Value::as_text);
        match (meaning, value) {
            (Meaning::Presence, _) => states.extend((keys.flag(name)? != Some(false)).then_some((name, None))),
            // Xen knows more of these than on and off.
            (Meaning::Wish, Some("1")) => {
                keys.take(name);
                states.push((name, None));
            }
            (Meaning::Wish, _) => {}
            (Meaning::State, _) => {
                states.extend(keys.flag(name)?.map(|on| (name, Some(if on { "on" } else { "off" }))));
            }
        }
    }
    let map = if guest == Guest::Pv { keys.flag(E820)? } else { None };
    if !states.is_empty() || map.is_some() {
        xml.open("features", &[]);
        for (name, state) in states {
            xml.empty(name, state.map(|s| ("state", s)).as_slice());
        }
        if let Some(on) = map {
            xml.open("xen", &[]);
            xml.empty(E820, &[("state", if on { "on" } else { "off" })]);
            xml.close();
        }
        xml.close();
    }
    let local = u64::from(keys.flag("localtime")? == Some(true));
    let basis = OFFSETS.iter().find(|o| o.1 == local).map_or("utc", |o| o.0);
    let offset = keys.get("rtc_timeoffset").and_then(super::Value::as_text).filter(|s| s.parse::<i64>().is_ok());
    match offset {
        Some(seconds) => {
            keys.take("rtc_timeoffset");
            xml.empty("clock", &[("offset", "variable"), ("adjustment", seconds), ("basis", basis)]);
        }
        None => xml.empty("clock", &[("offset", basis)]),
    }
    Ok(())
}
