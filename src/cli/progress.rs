//! A progress bar while a long call runs: the same job is asked for its state by other calls meanwhile.

use super::wire::{Domain, JobInfo};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(200);

/// Whether anyone looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shown {
    Yes,
    No,
}

impl Shown {
    /// On a terminal, unless quiet.
    #[must_use]
    pub fn on_terminal(quiet: bool) -> Self {
        if !quiet && std::io::stdout().is_terminal() && std::io::stderr().is_terminal() { Self::Yes } else { Self::No }
    }
}

/// Runs `call`, a long operation on `domain`, and shows how far it is.
pub async fn during<T>(shown: Shown, what: &str, domain: &Domain<'_>, call: impl Future<Output = T>) -> T {
    if shown == Shown::No {
        return call.await;
    }
    tokio::pin!(call);
    // What is done within one tick needs no bar.
    if let Ok(done) = tokio::time::timeout(TICK, &mut call).await {
        return done;
    }
    let bar = ProgressBar::new_spinner();
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    let watch = async {
        loop {
            match domain.job().await {
                Ok(info) => show(&bar, info),
                // A service without job information still has a spinner.
                Err(_) => std::future::pending().await,
            }
            tokio::time::sleep(TICK).await;
        }
    };
    let done = tokio::select! {
        done = &mut call => done,
        never = watch => never,
    };
    bar.finish_and_clear();
    done
}

fn show(bar: &ProgressBar, info: JobInfo) {
    if !info.active || info.total == 0 {
        return;
    }
    if bar.length() != Some(info.total) {
        let style = "{spinner} {msg} [{bar:30}] {percent:>3}% {binary_bytes}/{binary_total_bytes} {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_length(info.total);
    }
    bar.set_position(info.done.min(info.total));
}
