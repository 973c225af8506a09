//! Counts the instructions of each call path, while the run goes on.
//!
//! A node is a call path: a function, called at an address by the function of another node. A cell is a span that was
//! executed on a call path, with its count. Each cell remembers the two cells that came next, so what is executed over
//! and over costs a comparison and an increment.

use std::collections::{HashMap, HashSet};

use flatland_x86::{BlockCode, BlockSink};

use super::spans::{self, Flow, Span, Spans};

/// A node's number.
pub type NodeId = u32;
/// A cell's number.
type CellId = u32;

/// No number.
const NONE: u32 = u32::MAX;
/// The cell before the first block.
const START: CellId = 0;
/// The span of instructions whose addresses are not kept.
const NOT_KEPT: spans::Id = u32::MAX - 1;
/// The node of everything.
const ROOT: NodeId = 0;

/// Limits of a profile's memory.
#[derive(Clone, Copy, Debug)]
struct Limits {
    nodes: usize,
    cells: usize,
    edges: usize,
    /// Functions that are known.
    entries: usize,
    /// Calls that have not returned. Of more, the oldest are forgotten.
    frames: usize,
    spans: usize,
}

/// Together less than 200 MiB.
const LIMITS: Limits = Limits {
    nodes: 1 << 19,
    cells: 1 << 20,
    edges: 1 << 20,
    entries: 1 << 20,
    frames: 1 << 20,
    spans: 1 << 18,
};

/// Recursion is not followed deeper than this.
pub const MOST_DEPTH: u16 = 256;
/// No call path is longer than this.
const DEEPEST: u16 = 1024;
/// A return address is searched in this many calls, or it is taken for a jump.
const MOST_SEARCHED: usize = 1024;
/// Entries of the table in front of the map of cells, a power of two.
const TABLE_SIZE: usize = 1 << 12;

/// A call path.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The call path of the caller.
    pub parent: NodeId,
    /// The address of the call, or of the instruction that an exception came at. None for where the run began.
    pub called_at: Option<u32>,
    /// The address that was called.
    pub entry: u32,
    depth: u16,
}

/// A span that was executed on a call path.
#[derive(Clone, Copy, Debug)]
struct Cell {
    count: u64,
    span: spans::Id,
    node: NodeId,
    kind: Kind,
    /// What came next: spans and their cells.
    next: [(spans::Id, CellId); 2],
}

/// How the cell after a cell is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// By the next span alone.
    Jump,
    /// By the next span, and a call that returns to this address has been made.
    Call(u32),
    /// By the next span and the call that returns.
    Return,
    /// By all that is known.
    Unknown,
}

/// A call that has not returned.
#[derive(Clone, Copy, Debug)]
struct Frame {
    returns_to: u32,
    /// The caller's call path.
    node: NodeId,
    is_handler: bool,
}

/// A block of the engine.
#[derive(Clone, Copy, Debug)]
struct Block {
    span: spans::Id,
    instructions: u32,
    /// A part that was executed, and its span.
    part: (u32, spans::Id),
    /// Where its bytes are.
    code: (u32, usize, usize),
}

/// What could not be counted by its call path, and where it was counted instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Recursion was deeper than [`MOST_DEPTH`].
    pub recursion: bool,
    /// There were more call paths than fit.
    pub paths: bool,
    /// There was more code than fits, because it changed itself.
    pub code: bool,
}

/// Counts the instructions of each call path.
#[derive(Debug)]
pub struct CallPaths {
    spans: Spans,
    blocks: Vec<Block>,
    /// The bytes of the blocks.
    code: Vec<u8>,
    nodes: Vec<Node>,
    /// Call paths by the caller's, the address of the call, and the function.
    edges: HashMap<(NodeId, u32, u32), NodeId>,
    /// What has been called.
    entries: HashSet<u32>,
    cells: Vec<Cell>,
    by_span: HashMap<(NodeId, spans::Id), CellId>,
    table: Box<[CellId]>,
    current: CellId,
    frames: Vec<Frame>,
    /// Instructions whose addresses are not kept, because there are too many.
    not_kept: u64,
    folded: Folded,
    /// The call path that the first block is on, if it is not the first function's.
    first: Option<NodeId>,
    limits: Limits,
}

impl Default for CallPaths {
    fn default() -> Self {
        Self {
            spans: Spans::default(),
            blocks: Vec::new(),
            code: Vec::new(),
            nodes: vec![Node { parent: ROOT, called_at: None, entry: 0, depth: 0 }],
            edges: HashMap::new(),
            entries: HashSet::new(),
            cells: vec![Cell { count: 0, span: NONE, node: ROOT, kind: Kind::Unknown, next: [(NONE, 0); 2] }],
            by_span: HashMap::new(),
            table: vec![START; TABLE_SIZE].into_boxed_slice(),
            current: START,
            frames: Vec::new(),
            not_kept: 0,
            folded: Folded::default(),
            first: None,
            limits: LIMITS,
        }
    }
}

impl BlockSink for CallPaths {
    fn decoded(&mut self, _block: u32, code: &BlockCode) {
        let span = self.add_span(code, code.instructions);
        let at = self.code.len();
        self.code.extend(code.bytes);
        self.blocks.push(Block {
            span,
            instructions: code.instructions,
            part: (0, NONE),
            code: (code.address, at, code.bytes.len()),
        });
    }

    fn executed(&mut self, block: u32, instructions: u32) {
        let known = &self.blocks[block as usize];
        let span =
            if known.instructions == instructions { known.span } else { self.part(block, instructions) };
        let current = &self.cells[self.current as usize];
        let (kind, [first, second]) = (current.kind, current.next);
        let next = match kind {
            Kind::Jump if first.0 == span => first.1,
            Kind::Jump if second.0 == span => second.1,
            Kind::Call(returns_to) if first.0 == span || second.0 == span => {
                let node = current.node;
                self.push(Frame { returns_to, node, is_handler: false });
                if first.0 == span { first.1 } else { second.1 }
            }
            Kind::Return => self.return_to(span),
            _ => self.find(span),
        };
        self.current = next;
        self.cells[next as usize].count += 1;
        if span == NOT_KEPT {
            // The cell says how often, and not how many.
            self.not_kept += u64::from(instructions);
        }
    }

    fn jumped(&mut self) {
        self.current = START;
        self.frames.clear();
        self.first = None;
    }

    fn cleared(&mut self) {
        self.blocks.clear();
        self.code.clear();
    }
}

impl CallPaths {
    /// Knows the addresses of functions from the beginning: a jump to one is a tail call. Others are known when they are
    /// called for the first time.
    pub fn with_functions(addresses: impl IntoIterator<Item = u32>) -> Self {
        Self { entries: addresses.into_iter().take(LIMITS.entries).collect(), ..Self::default() }
    }

    /// Begins in the middle of calls: the outermost function, and of each call an address inside of its instruction, at
    /// the end, and the function that it has called, the outermost first.
    pub fn in_calls(mut self, outermost: u32, calls: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut node = self.callee(ROOT, None, outermost);
        for (called_at, entry) in calls {
            self.push(Frame { returns_to: called_at.wrapping_add(1), node, is_handler: false });
            node = self.callee(node, Some(called_at), entry);
        }
        self.first = Some(node);
        self
    }

    /// The call paths. The caller's comes before those that it called; the first one is that of everything.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What was counted elsewhere than on its own call path.
    pub fn folded(&self) -> Folded {
        self.folded
    }

    /// How often each instruction was executed on each call path: that, the instruction's address, and how often.
    /// Without the address where it is not kept.
    pub fn counts(&self) -> impl Iterator<Item = (NodeId, Option<u32>, u64)> {
        let kept = self.cells.iter().filter(|cell| cell.span < NOT_KEPT && cell.count > 0);
        let kept = kept.flat_map(|cell| {
            let addresses = self.spans.get(cell.span).addresses();
            addresses.map(|address| (cell.node, Some(address), cell.count))
        });
        kept.chain((self.not_kept > 0).then_some((ROOT, None, self.not_kept)))
    }

    fn add_span(&mut self, code: &BlockCode, instructions: u32) -> spans::Id {
        self.spans.add(code, instructions, self.limits.spans).unwrap_or_else(|| {
            self.folded.code = true;
            NOT_KEPT
        })
    }

    /// The span of the first instructions of a block.
    #[inline(never)]
    fn part(&mut self, block: u32, instructions: u32) -> spans::Id {
        let Block { part, code: (address, at, len), instructions: all, .. } = self.blocks[block as usize];
        if part.0 == instructions {
            return part.1;
        }
        let bytes = self.code[at..at + len].to_vec();
        let span = self.add_span(&BlockCode { address, bytes: &bytes, instructions: all }, instructions);
        self.blocks[block as usize].part = (instructions, span);
        span
    }

    fn push(&mut self, frame: Frame) {
        if self.frames.len() >= self.limits.frames {
            self.frames.drain(..self.limits.frames / 2);
        }
        self.frames.push(frame);
    }

    /// The cell after a return.
    fn return_to(&mut self, span: spans::Id) -> CellId {
        if let Some(&Frame { returns_to, node, .. }) = self.frames.last() {
            for (known, cell) in self.cells[self.current as usize].next {
                // A cell's span has an address, so this is where the call returns to.
                if known == span
                    && self.cells[cell as usize].node == node
                    && self.spans.get(span).address == returns_to
                {
                    self.frames.pop();
                    return cell;
                }
            }
        }
        self.find(span)
    }

    /// The cell of the next span, by what the last instruction did.
    #[inline(never)]
    fn find(&mut self, span: spans::Id) -> CellId {
        let Cell { span: last, node, kind, .. } = self.cells[self.current as usize];
        if span == NOT_KEPT {
            return self.cell(ROOT, NOT_KEPT);
        }
        let address = self.spans.get(span).address;
        let mut is_learned = kind != Kind::Unknown;
        let node = match self.flow(last) {
            // Where the run begins, or goes on elsewhere.
            None => match self.first.take() {
                Some(node) => node,
                None => self.callee(ROOT, None, address),
            },
            Some((Flow::Return, _)) => self.returned(node, address, false),
            Some((Flow::ReturnFromHandler, _)) => self.returned(node, address, true),
            Some((Flow::Call { returns_to, target }, at)) => {
                let node = self.called(node, at, returns_to, target.unwrap_or(address));
                // An exception at the first instruction of the function.
                match target.filter(|target| *target != address) {
                    Some(target) => {
                        is_learned = false;
                        self.handled(node, target, address)
                    }
                    None => node,
                }
            }
            Some((Flow::JumpAnywhere, _)) => self.jumped_to(node, address),
            Some((Flow::Jump(targets), _)) if targets.contains(&address) => self.jumped_to(node, address),
            Some((Flow::Next(next), _)) if next == address => node,
            Some((Flow::Next(next) | Flow::Jump([next, _]), _)) => {
                is_learned = false;
                self.handled(node, next, address)
            }
        };
        let cell = self.cell(node, span);
        if is_learned {
            let next = &mut self.cells[self.current as usize].next;
            (next[1], next[0]) = (next[0], (span, cell));
        }
        cell
    }

    /// What the last instruction of a span does, and its address.
    fn flow(&self, span: spans::Id) -> Option<(Flow, u32)> {
        let Span { flow, last, .. } = self.spans.get(Some(span).filter(|span| *span < NOT_KEPT)?);
        Some((*flow, *last))
    }

    /// The call path of a function that is called.
    fn called(&mut self, node: NodeId, at: u32, returns_to: u32, entry: u32) -> NodeId {
        if self.entries.len() < self.limits.entries {
            self.entries.insert(entry);
        }
        self.push(Frame { returns_to, node, is_handler: false });
        self.callee(node, Some(at), entry)
    }

    /// The call path of the handler of an exception, which came at an address.
    fn handled(&mut self, node: NodeId, at: u32, entry: u32) -> NodeId {
        self.push(Frame { returns_to: at, node, is_handler: true });
        self.callee(node, Some(at), entry)
    }

    /// The call path after a return to an address. It ends all calls since the one that returns there.
    fn returned(&mut self, node: NodeId, address: u32, is_from_handler: bool) -> NodeId {
        let searched = self.frames.len().saturating_sub(MOST_SEARCHED);
        let frames = &self.frames[searched..];
        // A handler may return anywhere.
        let handler = frames.iter().rposition(|frame| is_from_handler && frame.is_handler);
        match handler.or_else(|| frames.iter().rposition(|frame| frame.returns_to == address)) {
            Some(frame) => {
                let Frame { node, .. } = frames[frame];
                self.frames.truncate(searched + frame);
                node
            }
            None => self.jumped_to(node, address),
        }
    }

    /// The call path after a jump. One to another function is a call that returns for both.
    fn jumped_to(&mut self, node: NodeId, address: u32) -> NodeId {
        let Node { parent, called_at, entry, .. } = self.nodes[node as usize];
        match node != ROOT && entry != address && self.entries.contains(&address) {
            true => self.callee(parent, called_at, address),
            false => node,
        }
    }

    /// The call path of a function that another one calls.
    fn callee(&mut self, caller: NodeId, called_at: Option<u32>, entry: u32) -> NodeId {
        let key = (caller, called_at.unwrap_or(NONE), entry);
        if let Some(&node) = self.edges.get(&key) {
            return node;
        }
        let node = self.new_callee(caller, called_at, entry);
        if self.edges.len() < self.limits.edges {
            self.edges.insert(key, node);
        }
        node
    }

    fn new_callee(&mut self, caller: NodeId, called_at: Option<u32>, entry: u32) -> NodeId {
        let depth = self.nodes[caller as usize].depth + 1;
        let mut up = caller;
        while up != ROOT && self.nodes[up as usize].entry != entry {
            up = self.nodes[up as usize].parent;
        }
        if up != ROOT {
            if depth > MOST_DEPTH {
                self.folded.recursion = true;
                return up;
            }
            // Functions that call each other at several places would have a call path for each choice of them.
            let key = (caller, NONE, entry);
            if let Some(&node) = self.edges.get(&key) {
                return node;
            }
            let node = self.new_node(Node { parent: caller, called_at, entry, depth });
            if self.edges.len() < self.limits.edges {
                self.edges.insert(key, node);
            }
            return node;
        }
        self.new_node(Node { parent: caller, called_at, entry, depth })
    }

    fn new_node(&mut self, node: Node) -> NodeId {
        if self.nodes.len() >= self.limits.nodes || node.depth > DEEPEST {
            self.folded.paths = true;
            return node.parent;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    /// The cell of a span on a call path.
    fn cell(&mut self, node: NodeId, span: spans::Id) -> CellId {
        let hash = node.wrapping_mul(0x9e37_79b9) ^ span;
        let slot = hash as usize % TABLE_SIZE;
        let known = self.table[slot];
        let Cell { node: known_node, span: known_span, .. } = self.cells[known as usize];
        if (known_node, known_span) == (node, span) {
            return known;
        }
        let cell = match self.by_span.get(&(node, span)) {
            Some(&cell) => cell,
            None => self.new_cell(node, span),
        };
        self.table[slot] = cell;
        cell
    }

    fn new_cell(&mut self, mut node: NodeId, span: spans::Id) -> CellId {
        if self.cells.len() >= self.limits.cells {
            self.folded.paths = true;
            node = ROOT;
            if let Some(&cell) = self.by_span.get(&(node, span)) {
                return cell;
            }
        }
        let kind = match self.flow(span).map(|(flow, _)| flow) {
            None => Kind::Unknown,
            Some(Flow::Call { returns_to, .. }) => Kind::Call(returns_to),
            Some(Flow::Return | Flow::ReturnFromHandler) => Kind::Return,
            Some(Flow::Next(_) | Flow::Jump(_) | Flow::JumpAnywhere) => Kind::Jump,
        };
        let cell = self.cells.len() as CellId;
        self.cells.push(Cell { count: 0, span, node, kind, next: [(NONE, START); 2] });
        self.by_span.insert((node, span), cell);
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_where_there_is_more_than_fits() {
        for limit in [2, 3, 10, 100] {
            let limits = Limits {
                nodes: limit,
                cells: limit,
                edges: limit,
                entries: limit,
                frames: limit,
                spans: limit,
            };
            let mut paths = CallPaths { limits, ..CallPaths::default() };
            // Marsaglia's xorshift (2003).
            let mut random = 0x2545_f491_4f6c_dd1d_u64;
            let mut next = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 8) % below
            };
            let mut executed = 0;
            for _ in 0..20 {
                paths.cleared();
                for block in 0..50 {
                    // inc eax, inc eax, and a call, a jump, a return, or nothing.
                    let ends: [&[u8]; 4] = [&[0xe8, 0x10, 0, 0, 0], &[0xeb, 0x10], &[0xc3], &[0x40]];
                    let end = ends[next(4) as usize];
                    let bytes = [&[0x40, 0x40], end].concat();
                    let address = next(0x100) as u32 * 8;
                    paths.decoded(block, &BlockCode { address, bytes: &bytes, instructions: 3 });
                }
                for _ in 0..1000 {
                    let instructions = next(3) as u32 + 1;
                    paths.executed(next(50) as u32, instructions);
                    executed += u64::from(instructions);
                }
                paths.jumped();
            }
            assert_eq!(paths.counts().map(|(_, _, count)| count).sum::<u64>(), executed, "{limit}");
            assert!(paths.nodes.len() <= limit && paths.edges.len() <= limit && paths.frames.len() <= limit);
            // The spans that fit, each also on the path of everything.
            assert!(paths.cells.len() <= 2 * limit + 2, "{limit}: {}", paths.cells.len());
            let Folded { paths, code, .. } = paths.folded();
            assert!(paths && code, "{limit}");
        }
    }
}
