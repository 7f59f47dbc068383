//! Errors as libvirt's clients know them: a code with its fixed prefix, and a text.
//!
//! Error numbers do not cross D-Bus; clients recognise an error by the prefix that belongs to
//! its code (`src/util/virerror.c`), so [`Error`]'s `Display` is the exact wire text.

use std::fmt;

/// The result of everything a client can ask for.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// libvirt's error codes (`include/libvirt/virterror.h`) that virsnap raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Code {
    Internal = 1,
    NoSupport = 3,
    InvalidArg = 8,
    OperationFailed = 9,
    XmlError = 27,
    OperationDenied = 29,
    XmlDetail = 35,
    SystemError = 38,
    NoDomain = 42,
    OperationInvalid = 55,
    ConfigUnsupported = 67,
    OperationTimeout = 68,
    InvalidDomainSnapshot = 71,
    NoDomainSnapshot = 72,
    ArgumentUnsupported = 74,
    SnapshotRevertRisky = 77,
    OperationAborted = 78,
    NoDomainMetadata = 80,
    BlockCopyActive = 83,
    OperationUnsupported = 84,
    AgentUnresponsive = 86,
    XmlInvalidSchema = 92,
    AgentCommandTimeout = 112,
    AgentCommandFailed = 113,
}

impl Code {
    /// The text libvirt puts in front of every message of this code.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Internal => "internal error: ",
            Self::NoSupport => "this function is not supported by the connection driver: ",
            Self::InvalidArg => "invalid argument: ",
            Self::OperationFailed => "operation failed: ",
            Self::XmlError => "XML error: ",
            Self::OperationDenied => "operation forbidden: ",
            Self::XmlDetail | Self::SystemError => "",
            Self::NoDomain => "Domain not found: ",
            Self::OperationInvalid => "Requested operation is not valid: ",
            Self::ConfigUnsupported => "unsupported configuration: ",
            Self::OperationTimeout => "Timed out during operation: ",
            Self::InvalidDomainSnapshot => "Invalid domain snapshot: ",
            Self::NoDomainSnapshot => "Domain snapshot not found: ",
            Self::ArgumentUnsupported => "argument unsupported: ",
            Self::SnapshotRevertRisky => "revert requires force: ",
            Self::OperationAborted => "operation aborted: ",
            Self::NoDomainMetadata => "metadata not found: ",
            Self::BlockCopyActive => "block copy still active: ",
            Self::OperationUnsupported => "Operation not supported: ",
            Self::AgentUnresponsive => "Guest agent is not responding: ",
            Self::XmlInvalidSchema => "XML document failed to validate against schema: ",
            Self::AgentCommandTimeout => "guest agent command timed out: ",
            Self::AgentCommandFailed => "guest agent command failed: ",
        }
    }
}

/// One failure, in libvirt's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The class of the failure; decides the prefix.
    pub code: Code,
    message: String,
    bare: bool,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.bare {
            f.write_str(self.code.prefix())?;
        }
        f.write_str(&self.message)
    }
}

impl Error {
    /// An error whose text gets the prefix of its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), bare: false }
    }

    /// An error without prefix, as libvirt raises flag checks (`src/internal.h: virCheckFlags`).
    pub fn bare(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), bare: true }
    }

    /// `internal error: …`
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Code::Internal, message.to_string())
    }

    /// `operation failed: …`
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Code::OperationFailed, message.to_string())
    }

    /// `Requested operation is not valid: …`
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self::new(Code::OperationInvalid, message.to_string())
    }

    /// `unsupported configuration: …`
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(Code::ConfigUnsupported, message.to_string())
    }

    /// `Operation not supported: …`
    pub fn unsupported(message: impl fmt::Display) -> Self {
        Self::new(Code::OperationUnsupported, message.to_string())
    }

    /// `<what>: <strerror>`, libvirt's form for a failed system call.
    pub fn system(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let strerror = error.raw_os_error().map(std::io::Error::from_raw_os_error).map_or_else(
            || error.to_string(),
            |e| {
                let text = e.to_string();
                text.split(" (os error").next().unwrap_or_default().to_owned()
            },
        );
        Self::new(Code::SystemError, format!("{what}: {strerror}"))
    }

    /// The text without the code's prefix.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error with more said behind its text.
    #[must_use]
    pub fn context(mut self, more: impl fmt::Display) -> Self {
        self.message = format!("{}: {more}", self.message);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_reads_like_strerror() {
        let e = Error::system("cannot open '/x'", &std::io::Error::from_raw_os_error(2));
        assert_eq!(e.to_string(), "cannot open '/x': No such file or directory");
    }
}
