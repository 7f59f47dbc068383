//! A sample of the questions that libvirt was asked (`tests/oracle`), asked of this build; all of them: `make oracle`.

#![allow(clippy::unwrap_used)]

use std::process::Command;

/// What `run.sh` leaves with where its surroundings are missing; it has said why.
const SKIPPED: i32 = 77;

#[test]
fn a_sample_of_libvirts_recorded_answers() {
    let root = env!("CARGO_MANIFEST_DIR");
    let ran = Command::new("bash")
        .arg(format!("{root}/tests/oracle/run.sh"))
        .arg(env!("CARGO_BIN_EXE_virsnapd"))
        .args(["--sample", "150"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    if ran.status.code() == Some(SKIPPED) {
        println!("{said}");
        return;
    }
    assert!(said.contains("cases compared"), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
}
