//! Every schedule of faults of one shape.

use crate::check::{Expected, check};
use crate::machine::{Call, End, Machine};
use crate::picture::Picture;
use std::collections::BTreeMap;
use virsnap::error::Code;
use virsnap::host::sim::Fault;
use virsnap::plan::facts::Capabilities;

/// An operation and the machine it meets.
pub struct Shape {
    pub disks: usize,
    pub capabilities: Capabilities,
    pub transient: bool,
    pub set_up: Vec<Call>,
    pub call: Call,
    /// The operations that the call consists of, if several.
    pub parts: Vec<Call>,
}

type Schedule = Vec<(usize, Fault)>;

const KINDS: [Fault; 6] =
    [Fault::Crash, Fault::MachineKeeps, Fault::MachineLoses, Fault::GuestDies, Fault::GuestDiesUnseen, Fault::Refuse];

/// What may follow a fault: the daemon's end again, or the machine's.
const SECOND: [(Fault, Fault); 8] = [
    (Fault::Crash, Fault::Crash),
    (Fault::Crash, Fault::MachineKeeps),
    (Fault::Crash, Fault::MachineLoses),
    (Fault::Crash, Fault::Refuse),
    (Fault::Crash, Fault::GuestDiesUnseen),
    (Fault::GuestDiesUnseen, Fault::Crash),
    (Fault::Refuse, Fault::MachineKeeps),
    (Fault::Refuse, Fault::Refuse),
];

/// What comes after the call, or into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// If an operation is still open, a restart ends it.
    Restart,
    /// If an operation is still open, the next call ends it.
    Call,
    /// A Destroy comes into it.
    Destroy,
    /// A client cancels it.
    Cancel,
}

/// What may follow a fault: all that is in [`SECOND`], or with `CRASH_FULL` everything.
fn seconds(first: Fault) -> Vec<Fault> {
    if std::env::var_os("CRASH_FULL").is_some() {
        return KINDS.to_vec();
    }
    SECOND.iter().filter(|(f, _)| *f == first).map(|(_, s)| *s).collect()
}

struct Run {
    verdict: Result<(), String>,
    trace: Vec<String>,
    count: usize,
    struck: bool,
}

impl Shape {
    fn machine(&self) -> Machine {
        Machine::set_up(self.disks, self.capabilities, self.transient, &self.set_up)
    }

    fn expected(&self) -> (Expected, usize, usize) {
        let machine = self.machine();
        let before = Picture::take(&machine);
        let from = machine.fuse.count();
        let end = machine.call(self.call);
        assert!(matches!(end, End::Answered(Ok(()))), "without faults: {end:?}\n{}", machine.fuse.trace().join("\n"));
        let count = machine.fuse.count();
        let last = Picture::take(&machine);
        let mut after = Vec::new();
        if !self.parts.is_empty() {
            let machine = self.machine();
            for part in &self.parts {
                let end = machine.call(*part);
                assert!(matches!(end, End::Answered(Ok(()))), "{part:?}: {end:?}");
                after.push(Picture::take(&machine));
            }
            after.pop();
        }
        after.push(last);
        (Expected { call: self.call, before, after }, from, count)
    }

    fn run(&self, expected: &Expected, schedule: &Schedule, then: Then) -> Run {
        let machine = self.machine();
        for (n, fault) in schedule {
            machine.fuse.also(*n, *fault);
        }
        let end = match then {
            Then::Restart => machine.call(self.call),
            Then::Call => machine.call_twice(self.call),
            Then::Destroy => machine.call_and_destroy(self.call),
            Then::Cancel => machine.call_and_cancel(self.call),
        };
        let mut settled = machine.settle();
        // A deletion that was cut short stays for whoever asks again; perhaps a fault comes into that as well.
        for _ in 0..3 {
            let Some(half) = machine.half_deleted().filter(|_| then == Then::Cancel) else { break };
            let _ = machine.call(Call::Delete(half, 0));
            settled = settled.and(machine.settle());
        }
        let mut verdict = settled.and_then(|_| check(&machine, expected, schedule));
        if let (Then::Cancel, End::Answered(Err(error)), 1) = (then, &end, schedule.len())
            && error.code != Code::OperationAborted
        {
            verdict = Err(format!("a cancelled call answers: {error}"));
        }
        let mut trace = machine.fuse.trace();
        trace.push(format!("the call: {end:?}"));
        Run { verdict, trace, count: machine.fuse.count(), struck: machine.fuse.struck() == schedule.len() }
    }
}

/// Run every schedule of a shape.
pub fn explore(name: &str, shape: Shape) {
    if std::env::var("CRASH_ONLY").is_ok_and(|only| !name.contains(&only)) {
        return;
    }
    let (expected, from, to) = shape.expected();
    let mut report = Report { name, from, runs: 0, failures: BTreeMap::new() };
    report.add(&Vec::new(), &shape.run(&expected, &Vec::new(), Then::Restart));
    if let Ok(at) = std::env::var("CRASH_AT") {
        let schedule = parse(&at, from);
        let interrupted = schedule.iter().any(|(_, f)| *f == Fault::Interrupt);
        let then = match std::env::var_os("CRASH_CALL") {
            Some(_) if interrupted => Then::Cancel,
            None if interrupted => Then::Destroy,
            Some(_) => Then::Call,
            None => Then::Restart,
        };
        let run = shape.run(&expected, &schedule, then);
        panic!("{:?}\n{}", run.verdict, run.trace.join("\n"));
    }
    for kind in KINDS {
        for n in from..to {
            let first = vec![(n, kind)];
            let run = shape.run(&expected, &first, Then::Restart);
            report.add(&first, &run);
            if !kind.ends_daemon() {
                report.add(&first, &shape.run(&expected, &first, Then::Call));
            }
            for second in seconds(kind) {
                for m in n + 1..run.count {
                    let schedule = vec![(n, kind), (m, second)];
                    let then = if second == Fault::Refuse && m % 2 == 0 { Then::Call } else { Then::Restart };
                    let run = shape.run(&expected, &schedule, then);
                    if run.struck {
                        report.add(&schedule, &run);
                    }
                }
            }
        }
    }
    for n in from..to {
        let mut schedule = vec![(n, Fault::Interrupt)];
        let run = shape.run(&expected, &schedule, Then::Cancel);
        report.add(&schedule, &run);
        // Every third: it is the same undo that a refusal is followed by.
        for m in (n + 1 + n % 3..run.count).step_by(3) {
            schedule.truncate(1);
            schedule.push((m, Fault::Crash));
            report.add(&schedule, &shape.run(&expected, &schedule, Then::Cancel));
        }
        schedule.truncate(1);
        let run = shape.run(&expected, &schedule, Then::Destroy);
        report.add(&schedule, &run);
        for m in n + 1..run.count {
            schedule.truncate(1);
            schedule.push((m, Fault::Crash));
            report.add(&schedule, &shape.run(&expected, &schedule, Then::Destroy));
        }
    }
    report.finish();
}

fn parse(text: &str, from: usize) -> Schedule {
    let kind = |name: &str| {
        KINDS.into_iter().chain([Fault::Interrupt]).find(|k| format!("{k:?}") == name).expect("a kind of fault")
    };
    let one = |part: &str| part.split_once(',').map(|(n, k)| (from + n.parse::<usize>().unwrap(), kind(k)));
    text.split(';').filter_map(one).collect()
}

/// What went wrong, by what went wrong.
struct Report<'a> {
    name: &'a str,
    from: usize,
    runs: usize,
    failures: BTreeMap<String, (usize, String)>,
}

impl Report<'_> {
    fn add(&mut self, schedule: &Schedule, run: &Run) {
        self.runs += 1;
        let Err(error) = &run.verdict else { return };
        let key: String = error.chars().take_while(|c| !"{[".contains(*c)).take(80).collect();
        let entry = self.failures.entry(key).or_insert_with(|| {
            let at: Vec<String> = schedule.iter().map(|(n, f)| format!("{},{f:?}", n - self.from)).collect();
            let trace = run.trace.iter().skip(self.from).cloned().collect::<Vec<_>>().join("\n    ");
            (0, format!("CRASH_AT='{}'\n  {error}\n    {trace}", at.join(";")))
        });
        entry.0 += 1;
    }

    fn finish(self) {
        println!("{}: {} schedules", self.name, self.runs);
        if self.failures.is_empty() {
            return;
        }
        let mut text = String::new();
        for (times, first) in self.failures.values() {
            text.push_str(&format!("\n{times} of {} schedules of {}, the first: {first}\n", self.runs, self.name));
        }
        panic!("{text}");
    }
}
