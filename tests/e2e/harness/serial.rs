//! What the guest says on its serial port (see `tests/guest/counter.S`).

/// `M=… D0=… D1=…`: the counter in memory, and the stamps that the disks had at that instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub memory: u32,
    pub disks: Vec<u32>,
    /// It does not count on from the line before it, or a fragment stands between them.
    pub jumped: bool,
}

impl Line {
    /// Memory and all disks are of the same instant.
    pub fn agrees(&self) -> bool {
        self.disks.iter().all(|&disk| disk == self.memory)
    }
}

/// All that was said.
#[derive(Debug, Default)]
pub struct Serial {
    /// The stamps each boot found.
    pub boots: Vec<Vec<u32>>,
    pub lines: Vec<Line>,
    /// Anything else that was a full line: `OFF`, `RESET`, `DISK-ERROR`.
    pub words: Vec<String>,
}

impl Serial {
    /// A guest that goes on in the middle of a line leaves a fragment: lines that do not parse are `words`.
    pub fn parse(text: &str) -> Self {
        let mut serial = Self::default();
        let Some(end) = text.rfind('\n') else { return serial };
        let mut fragment = false;
        for line in text[..end].lines() {
            let line = line.trim();
            let boot = line.strip_prefix("BOOT ");
            match (boot.and_then(stamps), counter(line)) {
                (Some(disks), _) => serial.boots.push(disks),
                (_, Some(mut line)) => {
                    line.jumped =
                        serial.last().is_some_and(|last| line.memory != last.memory.wrapping_add(1) || fragment);
                    fragment = false;
                    serial.lines.push(line);
                }
                _ => {
                    fragment = true;
                    serial.words.push(line.to_owned());
                }
            }
        }
        serial
    }

    /// The first line after a revert, of a guest whose QEMU went on: it is the first that does not count on from the one
    /// before; or if all do, because the guest was at that very place, one that says `stamp`.
    pub fn reverted(&self, stamp: u32) -> Option<&Line> {
        let is_there = |line: &&Line| line.memory.wrapping_sub(stamp) <= 1;
        match self.lines.iter().rev().find(|line| line.jumped) {
            Some(line) => Some(line),
            None => self.lines.iter().find(is_there),
        }
    }

    /// The lines that the guest said whole: half of one before a jump may be of the time after it.
    pub fn whole(&self) -> impl Iterator<Item = &Line> {
        let next = self.lines.iter().skip(1).map(Some).chain([None]);
        self.lines.iter().zip(next).filter(|(_, next)| next.is_none_or(|n| !n.jumped)).map(|(line, _)| line)
    }

    pub fn last(&self) -> Option<&Line> {
        self.lines.last()
    }
}

fn counter(line: &str) -> Option<Line> {
    let (memory, disks) = line.strip_prefix("M=")?.split_once(' ')?;
    Some(Line { memory: hex(memory)?, disks: stamps(disks)?, jumped: false })
}

fn stamps(text: &str) -> Option<Vec<u32>> {
    text.split(' ').enumerate().map(|(n, word)| hex(word.strip_prefix(&format!("D{n}="))?)).collect()
}

fn hex(text: &str) -> Option<u32> {
    (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok())?
}
