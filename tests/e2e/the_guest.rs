//! The test guest itself.

use crate::harness::image::GUEST;
use std::process::Command;

#[test]
fn the_bytes_in_the_tree_are_what_the_source_says() {
    if Command::new("as").arg("--version").output().is_err() {
        println!("SKIP: no assembler on this machine, the guest's bytes were not compared with their source");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest/counter.S");
    let (object, binary) = (directory.path().join("o"), directory.path().join("bin"));
    let assembled = Command::new("as").arg("--32").arg("-o").arg(&object).arg(source).status().unwrap();
    assert!(assembled.success());
    let linked = Command::new("ld")
        .args(["-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-e", "_start", "-o"])
        .args([&binary, &object])
        .status()
        .unwrap();
    assert!(linked.success());
    assert_eq!(std::fs::read(binary).unwrap(), GUEST, "run `make guest`");
}
