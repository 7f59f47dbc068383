//! Bitmaps that a backup has put on a disk go on in the overlay of a snapshot, as the images say.

use crate::harness::image::Content;
use crate::harness::{Daemon, Guest, Kind, Spec, State};
use std::path::Path;
use std::process::Command;

/// Names, granularities and flags.
fn bitmaps(image: &Path) -> Vec<(String, u64, Vec<String>)> {
    let info = Command::new("qemu-img").args(["info", "-U", "--output=json"]).arg(image).output().unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    let all = info["format-specific"]["data"]["bitmaps"].as_array().cloned().unwrap_or_default();
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    let flags = |b: &serde_json::Value| b["flags"].as_array().unwrap().iter().map(text).collect();
    all.iter().map(|b| (text(&b["name"]), b["granularity"].as_u64().unwrap(), flags(b))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bitmaps_go_on_in_the_overlay() {
    for state in [State::Off, State::Running] {
        for kind in [Kind::DiskOnly, Kind::Memory] {
            if state == State::Off && kind == Kind::Memory {
                continue;
            }
            let daemon = Daemon::start().await;
            let guest = Guest::define(&daemon, Spec::disks(1)).await;
            let disk = guest.path("counter-0.qcow2");
            let bitmap = |arguments: &[&str]| {
                let done = Command::new("qemu-img").arg("bitmap").args(arguments).arg(&disk).arg("backup").status();
                assert!(done.unwrap().success());
            };
            bitmap(&["--add", "-g", "131072"]);
            guest.enter(state).await;
            let truth = guest.take("s", kind).await;
            guest.advance().await;
            let overlay = guest.tops().await.remove(0);
            assert_ne!(overlay, disk);
            guest.enter(State::Off).await;
            let wanted = vec![("backup".to_owned(), 131_072, vec!["auto".to_owned()])];
            assert_eq!(bitmaps(&overlay), wanted, "{state:?} {kind:?}");
            assert_eq!(bitmaps(&disk), wanted, "{state:?} {kind:?}");
            guest.domain.snapshot("s").await.unwrap().revert(0).await.unwrap();
            guest.assert_is_at(&truth).await;
            guest.enter(State::Off).await;
            assert_eq!(bitmaps(&guest.tops().await[0]), wanted, "after a revert");
            let now = Content::of(&guest.tops().await[0]);
            guest.domain.snapshot("s").await.unwrap().delete(0).await.unwrap();
            assert_eq!(Content::of(&guest.tops().await[0]), now);
            // What remains of the two is one, with all that was written since it was begun.
            assert_eq!(bitmaps(&guest.tops().await[0]), wanted, "after the merge");
            guest.assert_clean().await;
        }
    }
}
