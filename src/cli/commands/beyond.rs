//! Commands that libvirt has no call for.

use super::super::action::{BeyondAct, Document, Form, Goes, Which};
use super::super::failure::Failure;
use super::super::output::Output;
use super::super::progress::{Shown, during};
use super::super::render::Table;
use super::super::wire::{Domain, Verified};
use super::{read, snapshot};
use crate::model::flags::RevertFlags;
use std::collections::BTreeMap;
use std::time::Duration;
use zbus::{OwnedVariant, Variant};

pub(super) async fn run(domain: &Domain<'_>, act: BeyondAct, out: &mut Output) -> Result<(), Failure> {
    match act {
        BeyondAct::PlanCreate { document, flags } => {
            let xml = match document {
                Document::File(path) => read(&path)?,
                Document::Text(xml) => xml,
                Document::Empty => "<domainsnapshot/>".to_owned(),
            };
            lines(out, &domain.own::<_, (Vec<String>,)>("PlanCreate", &(xml, flags.bits())).await?.0);
        }
        BeyondAct::PlanDelete { which, flags } => {
            let name = name(domain, which).await?;
            lines(out, &domain.own::<_, (Vec<String>,)>("PlanDelete", &(name, flags.bits())).await?.0);
        }
        BeyondAct::PlanRevert { which, flags, goes } => {
            let name = name(domain, which).await?;
            lines(out, &domain.own_revert::<(Vec<String>,)>("PlanRevert", &name, &options(flags, goes)).await?.0);
        }
        BeyondAct::Revert { which, flags, goes } => {
            let name = name(domain, which).await?;
            let options = options(flags, goes);
            let call = domain.own_revert::<()>("Revert", &name, &options);
            let done = during(Shown::on_terminal(out.is_quiet()), "reverting", domain, call).await;
            done.map_err(|cause| Failure::behind(format!("Failed to revert snapshot {name}"), cause))?;
            out.extra(&format!("Domain snapshot {name} reverted\n"));
        }
        BeyondAct::Verify { all, form } => return verify(domain, all, form, out).await,
        BeyondAct::Rename { from, to } => {
            let _: zbus::OwnedObjectPath = domain.own("Rename", &(&from, &to, 0_u32)).await?;
            out.extra(&format!("Domain snapshot {from} renamed to {to}\n"));
        }
        BeyondAct::Describe { name, text } => {
            let () = domain.own("SetDescription", &(&name, text, 0_u32)).await?;
            out.extra(&format!("Domain snapshot {name} described\n"));
        }
        BeyondAct::Watch { repeat, timeout } => return watch(domain, repeat, timeout, out).await,
        BeyondAct::JobInfo(form) => job_info(&domain.own_job().await?, form, out),
        BeyondAct::JobAbort => {
            let () = domain.call("AbortJob", &()).await?;
        }
    }
    Ok(())
}

fn lines(out: &mut Output, lines: &[String]) {
    lines.iter().for_each(|line| out.print(&format!("{line}\n")));
}

async fn name(domain: &Domain<'_>, which: Which) -> Result<String, Failure> {
    Ok(snapshot::find(domain, which).await?.name)
}

fn options(flags: RevertFlags, goes: Goes) -> Vec<(&'static str, Variant<'static>)> {
    vec![
        ("flags", Variant::U32(flags.bits())),
        ("delete-children", Variant::Bool(goes.children)),
        ("discard", Variant::Bool(goes.discard)),
    ]
}

async fn verify(domain: &Domain<'_>, all: bool, form: Form, out: &mut Output) -> Result<(), Failure> {
    let (rows,): (Vec<Verified>,) = domain.own("Verify", &0_u32).await?;
    let wrong = rows.iter().filter(|r| r.3 != "ok").count();
    let shown = rows.iter().filter(|r| all || r.3 != "ok");
    match form {
        Form::Json => {
            let object = |(snapshot, part, path, status, detail): &Verified| {
                serde_json::json!({
                    "snapshot": snapshot, "part": part, "path": path, "status": status, "detail": detail,
                })
            };
            out.print(&format!("{:#}\n", serde_json::Value::Array(shown.map(object).collect())));
        }
        Form::Text if all || wrong > 0 => {
            let mut table = Table::new(&["Snapshot", "Part", "Status", "File", "Detail"]);
            for (snapshot, part, path, status, detail) in shown {
                let snapshot = if snapshot.is_empty() { "-" } else { snapshot };
                table.row(&[snapshot, part, status, path, detail]);
            }
            out.print(&table.with_heading());
        }
        Form::Text => {}
    }
    if wrong > 0 {
        return Err(Failure::new(format!("{wrong} of {} things are not as the snapshots need them", rows.len())));
    }
    if form == Form::Text {
        out.extra(&format!("All {} things that the snapshots need are right\n", rows.len()));
    }
    Ok(())
}

async fn watch(domain: &Domain<'_>, repeat: bool, timeout: Option<u64>, out: &mut Output) -> Result<(), Failure> {
    let name = domain.name().await?;
    let mut news = domain.news().await?;
    let until = timeout.map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
    let mut seen = 0_usize;
    loop {
        let next = match until {
            Some(until) => tokio::time::timeout_at(until, news.next()).await.unwrap_or(None),
            None => news.next().await,
        };
        let Some(words) = next else { break };
        out.print(&format!("event '{}' for domain '{name}'\n", words.replacen(": ", "' on '", 1)));
        out.flush();
        seen += 1;
        if !repeat {
            break;
        }
    }
    out.extra(&format!("events received: {seen}\n"));
    if seen == 0 { Err(Failure::new("event loop timed out")) } else { Ok(()) }
}

fn job_info(job: &BTreeMap<String, OwnedVariant>, form: Form, out: &mut Output) {
    let text = |key: &str| match job.get(key).map(|v| &**v) {
        Some(Variant::Str(text)) => Some(text.to_string()),
        Some(Variant::U32(n)) => Some(n.to_string()),
        Some(Variant::U64(n)) => Some(n.to_string()),
        Some(Variant::Bool(on)) => Some(on.to_string()),
        _ => None,
    };
    if form == Form::Json {
        let value = |v: &OwnedVariant| match &**v {
            Variant::Str(text) => serde_json::Value::from(text.to_string()),
            Variant::U32(n) => serde_json::Value::from(*n),
            Variant::U64(n) => serde_json::Value::from(*n),
            Variant::Bool(on) => serde_json::Value::from(*on),
            _ => serde_json::Value::Null,
        };
        let object: serde_json::Map<_, _> = job.iter().map(|(key, v)| (key.clone(), value(v))).collect();
        return out.print(&format!("{:#}\n", serde_json::Value::Object(object)));
    }
    let mut line = |title: &str, value: &str| out.print(&format!("{:<17} {value}\n", format!("{title}:")));
    let runs = text("running").as_deref() == Some("true");
    let bounded = text("bytes_total").is_some_and(|n| n != "0");
    let kind = match (runs, &text("error"), job.is_empty()) {
        (_, _, true) => "None",
        (true, ..) if bounded => "Bounded",
        (true, ..) => "Unbounded",
        (false, Some(_), _) => "Failed",
        (false, None, _) => "Completed",
    };
    line("Job type", kind);
    for (key, title, unit) in [
        ("operation", "Operation", ""),
        ("snapshot", "Snapshot", ""),
        ("phase", "Phase", ""),
        ("step", "Step", ""),
        ("steps", "Steps", ""),
        ("elapsed_ms", "Time elapsed", " ms"),
        ("bytes_done", "Data processed", " B"),
        ("bytes_total", "Data total", " B"),
        ("paused_us", "Guest paused", " µs"),
        ("error", "Error message", ""),
    ] {
        if let Some(value) = text(key) {
            line(title, &format!("{value}{unit}"));
        }
    }
}
