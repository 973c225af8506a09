//! The points of a run that a timeline keeps, in bounded memory.

use flatland_machine::Checkpoint;

/// Checkpoints of one run, by their count of instructions.
#[derive(Debug)]
pub struct Marks {
    /// In order of time, no two with the same count. There is at least one.
    marks: Vec<Mark>,
    /// How many bytes of memory all may take together.
    pub bound: usize,
    /// How many of these are left for something else.
    reserved: usize,
}

#[derive(Debug)]
struct Mark {
    count: u64,
    checkpoint: Checkpoint,
    /// What it takes besides what it shares with the one before.
    bytes: usize,
}

/// What a checkpoint takes besides its pages, about: the processor, and the chunks of pages that a copy of RAM has.
const FIXED_BYTES: usize = 4096;

/// More are thinned out even where they take little memory, so that finding one stays cheap.
const MOST: usize = 4096;

impl Marks {
    pub fn new(first: Checkpoint, bound: usize) -> Self {
        let mut marks = Self { marks: Vec::new(), bound, reserved: 0 };
        marks.insert(first);
        marks
    }

    /// Forgets all and begins anew.
    pub fn begin_anew(&mut self, first: Checkpoint) {
        self.marks.clear();
        self.insert(first);
    }

    /// The earliest one.
    pub fn first(&self) -> &Checkpoint {
        &self.marks[0].checkpoint
    }

    /// The count of the last one.
    pub fn last_count(&self) -> u64 {
        self.marks[self.marks.len() - 1].count
    }

    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// How many bytes of memory all take.
    pub fn bytes(&self) -> usize {
        self.marks.iter().map(|mark| mark.bytes).sum()
    }

    /// The last one at or before this count of instructions, or else the first one.
    pub fn at_or_before(&self, count: u64) -> &Checkpoint {
        let behind = self.marks.partition_point(|mark| mark.count <= count);
        &self.marks[behind.saturating_sub(1)].checkpoint
    }

    /// Keeps a checkpoint, unless there is one with this count, and thins out the others.
    pub fn insert(&mut self, checkpoint: Checkpoint) {
        let count = checkpoint.instructions().unwrap_or_default();
        let at = self.marks.partition_point(|mark| mark.count < count);
        if self.marks.get(at).is_some_and(|mark| mark.count == count) {
            return;
        }
        self.marks.insert(at, Mark { count, checkpoint, bytes: 0 });
        self.measure(at);
        self.measure(at + 1);
        self.thin_out(at);
    }

    /// What [`Self::reserve`] has set.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// Leaves this many bytes of the bound for something else.
    pub fn reserve(&mut self, bytes: usize) {
        self.reserved = bytes;
        self.thin_out(0);
    }

    fn thin_out(&mut self, just_made: usize) {
        let most = self.bound.saturating_sub(self.reserved);
        while (self.bytes() > most || self.len() > MOST) && self.thin(just_made) {}
    }

    fn measure(&mut self, at: usize) {
        if at >= self.marks.len() {
            return;
        }
        let before = at.checked_sub(1).map(|before| &self.marks[before].checkpoint);
        let others: Vec<_> = before.into_iter().collect();
        self.marks[at].bytes = FIXED_BYTES + self.marks[at].checkpoint.bytes_not_in(&others);
    }

    /// Drops the checkpoint whose neighbours are closest together for their age. So the gaps grow with the age, but
    /// slower. The first and the last one stay, and the one that was just made. Returns whether there was another.
    fn thin(&mut self, just_made: usize) -> bool {
        let now = self.last_count();
        let weight = |at: usize| {
            let gap = (self.marks[at + 1].count - self.marks[at - 1].count) as f64;
            let age = (now - self.marks[at].count + 1) as f64;
            gap / age.sqrt()
        };
        let inner = 1..self.len().saturating_sub(1);
        let others = inner.filter(|&at| at != just_made);
        let Some(at) = others.min_by(|&one, &other| weight(one).total_cmp(&weight(other))) else {
            return false;
        };
        self.marks.remove(at);
        self.measure(at);
        true
    }
}
