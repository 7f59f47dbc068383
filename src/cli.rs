//! `virsnap`, a client in virsh's manner: the same commands, options, texts and exit codes.
//!
//! It speaks libvirt-dbus's D-Bus API and nothing else, so it works against libvirt-dbus too; it
//! must not know how the daemon is made.
//!
//! Commands below `xl` are [`xl`]'s; [`mod@reference`] prints manual pages and completion scripts from the table in [`spec`].
//!
//! ```text
//! argv ─ spec ─▶ args::Typed ─ action ─▶ action::Action ─ commands ─▶ D-Bus calls, render
//!        (what may be typed)   (what was typed)          (what will be done)
//! ```

pub mod action;
pub mod args;
pub mod commands;
pub mod complete;
pub mod diskspec;
pub mod document;
pub mod domain_document;
pub mod editor;
pub mod failure;
pub mod json;
pub mod output;
pub mod progress;
pub mod reference;
pub mod render;
pub mod spec;
pub mod texts;
pub mod tree;
pub mod uri;
pub mod wire;
pub mod words;
pub mod xl;
pub mod xpath;

use self::action::Action;
use self::args::{Parsed, Stop, Typed};
use self::failure::Failure;
use self::output::Output;
use self::wire::Bus;
use std::ffi::OsString;

/// virsh's `EXIT_FAILURE`.
const FAILED: u8 = 1;

/// Runs one command line (program name first) and answers the exit code, which is the last command's.
pub async fn run(argv: Vec<OsString>) -> u8 {
    let parsed = match args::parse(argv) {
        Ok(parsed) => parsed,
        Err(Stop::Print(text)) => {
            let mut out = Output::new(false);
            out.print(&text);
            return told(out.finish());
        }
        Err(Stop::Usage(failure)) => return told(Err(failure)),
    };
    let mut out = Output::new(parsed.global.quiet);
    let (mut bus, mut code) = (None, 0);
    for typed in &parsed.commands {
        let done = match reference::text(typed) {
            Some(text) => text.map(|text| out.print(&text)),
            None if typed.command.name == spec::COMPLETE => {
                out.print(&commands::complete::run(typed).await);
                Ok(())
            }
            None => command(&parsed, typed, &mut bus, &mut out).await,
        };
        out.flush();
        code = told(done);
        // virsh ends every command with a newline, so what it said has one or is followed by an empty line.
        if !reference::is_a_file(typed) {
            out.extra("\n");
        }
    }
    code.max(told(out.finish()))
}

/// The exit code, after the failure was told.
fn told(done: Result<(), Failure>) -> u8 {
    match done {
        Ok(()) => 0,
        Err(failure) => {
            failure.lines().iter().for_each(|line| output::error(line));
            FAILED
        }
    }
}

async fn command(parsed: &Parsed, typed: &Typed, bus: &mut Option<Bus>, out: &mut Output) -> Result<(), Failure> {
    let action = Action::from_typed(typed)?;
    let bus = match bus {
        Some(bus) => bus,
        None => bus.insert(Bus::connect(&parsed.global).await?),
    };
    commands::run(&bus.with_default_driver(typed.command.default_driver()), action, out).await
}
