//! The user's editor on a copy of a document (`tools/vsh.c: vshEditFile`): `$VISUAL`, `$EDITOR`, else vi.

use super::failure::Failure;
use crate::error::Error;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use tempfile::NamedTempFile;

/// A document while it is edited: a file that only its owner can read, gone afterwards unless it is kept.
#[derive(Debug)]
pub struct Draft {
    file: NamedTempFile,
}

impl Draft {
    /// A file with `text` in it, in `$TMPDIR` or `/tmp`.
    pub fn new(text: &str) -> Result<Self, Failure> {
        let written = tempfile::Builder::new().prefix("virsnap").suffix(".xml").tempfile().and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.flush()?;
            Ok(file)
        });
        let failed = |e| Failure::new(Error::system("cannot write a temporary file", &e).to_string());
        Ok(Self { file: written.map_err(failed)? })
    }

    /// Lets the user edit it, and answers what it is now.
    pub fn edit(&self) -> Result<String, Failure> {
        let path = self.file.path().display().to_string();
        let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_/.:@".contains(c);
        let (mut command, shown) = if editor.chars().all(is_plain) {
            let mut command = Command::new(&editor);
            command.arg(&path);
            (command, format!("{editor} {path}"))
        } else {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&path);
            (command, format!("sh -c '{editor} {path}'"))
        };
        let status = command.status().map_err(|e| {
            Failure::new(match e.kind() {
                std::io::ErrorKind::NotFound => format!("Cannot find '{editor}' in path: No such file or directory"),
                _ => Error::system(format!("cannot run '{editor}'"), &e).to_string(),
            })
        })?;
        match (status.code(), status.signal()) {
            (Some(0), _) => {}
            (Some(code), _) => {
                let error = format!("internal error: Child process ({shown}) unexpected exit status {code}");
                return Err(Failure::new(error));
            }
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                let error = format!("internal error: Child process ({shown}) unexpected fatal signal {signal}");
                return Err(Failure::new(error));
            }
        }
        self.text()
    }

    /// What is in it now.
    pub fn text(&self) -> Result<String, Failure> {
        // By its path: an editor may have put another file in its place.
        super::commands::read(&self.file.path().display().to_string())
    }

    /// Leaves the file where it is and answers its path.
    #[must_use]
    pub fn keep(self) -> String {
        let path = self.file.path().display().to_string();
        match self.file.keep() {
            Ok(_) => path,
            // It cannot fail on Unix, where nothing has to be done for it.
            Err(error) => format!("{path} ({error})"),
        }
    }
}
