//! Standard output and standard error. A reader that goes away (`virsnap list | head -1`) is no
//! failure: what is left to say is dropped. Any other failure to write is one.

use super::failure::Failure;
use crate::error::Error;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

/// What a command says.
#[derive(Debug)]
pub struct Output {
    quiet: bool,
    to: BufWriter<Stdout>,
    /// Once writing failed, nothing more is written.
    broken: Option<io::Error>,
}

impl Output {
    /// Standard output; `quiet` is virsh's `-q`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, to: BufWriter::new(io::stdout()), broken: None }
    }
    /// Whether `-q` was given.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }
    /// Says what was asked for (`vshPrint`).
    pub fn print(&mut self, text: &str) {
        if self.broken.is_none() {
            self.broken = self.to.write_all(text.as_bytes()).err();
        }
    }
    /// Says what `-q` silences (`vshPrintExtra`).
    pub fn extra(&mut self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }
    /// Hands over what was said so far.
    pub fn flush(&mut self) {
        if self.broken.is_none() {
            self.broken = self.to.flush().err();
        }
    }
    /// Hands over the rest, and answers whether all that anyone wanted to read was written.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.flush();
        match self.broken.take() {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::new(Error::system("cannot write to standard output", &error).to_string()))
            }
            _ => Ok(()),
        }
    }
}

/// One `error: ` on standard error.
pub fn error(text: &str) {
    // Nobody is left to be told of a failure to tell.
    let _ = writeln!(io::stderr(), "error: {text}");
}
