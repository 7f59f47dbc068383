//! Standard output and standard error. A reader that goes away (`virsnap list | head -1`) is no
//! failure: what is left to say is dropped.

use std::io::{BufWriter, Stdout, Write};

/// What a command says.
#[derive(Debug)]
pub struct Output {
    quiet: bool,
    /// `None` once the reader has gone.
    to: Option<BufWriter<Stdout>>,
}

impl Output {
    /// Standard output; `quiet` is virsh's `-q`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, to: Some(BufWriter::new(std::io::stdout())) }
    }
    /// Whether `-q` was given.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }
    /// Says what was asked for (`vshPrint`).
    pub fn print(&mut self, text: &str) {
        if let Some(to) = &mut self.to
            && to.write_all(text.as_bytes()).is_err()
        {
            self.to = None;
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
        if let Some(to) = &mut self.to
            && to.flush().is_err()
        {
            self.to = None;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
    }
}

/// One `error: ` on standard error.
pub fn error(text: &str) {
    // Nobody is left to be told of a failure to tell.
    let _ = writeln!(std::io::stderr(), "error: {text}");
}
