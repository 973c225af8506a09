//! Call paths by the names of their functions.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use flatland_program::Symbols;

use crate::words::visible;

/// A name's number.
pub type NameId = u32;
/// A node's number.
pub type NodeId = u32;

/// The node of everything. It has no name.
pub const ROOT: NodeId = 0;

/// The most nodes. What would be below is counted with its caller.
const MOST_NODES: usize = 1 << 20;
/// The most characters of a name: a broken ELF file may have longer ones.
const LONGEST_NAME: usize = 1000;
/// The most addresses whose names are kept. Others are looked up each time.
const MOST_KNOWN: usize = 1 << 20;

/// Names, each once.
#[derive(Debug, Default)]
pub struct Names {
    names: Vec<Rc<str>>,
    ids: HashMap<Rc<str>, NameId>,
}

impl Names {
    /// A name's number.
    pub fn id(&mut self, name: &str) -> NameId {
        let name: String = name.chars().take(LONGEST_NAME).map(visible).collect();
        if let Some(&id) = self.ids.get(&*name) {
            return id;
        }
        let id = self.names.len() as NameId;
        let name: Rc<str> = name.into();
        self.names.push(name.clone());
        self.ids.insert(name, id);
        id
    }

    /// The name with this number.
    pub fn get(&self, id: NameId) -> &str {
        &self.names[id as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }
}

/// A call path.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The caller's call path, which has a lower number.
    pub parent: NodeId,
    /// The function.
    pub name: NameId,
    /// What was counted in the function itself.
    pub own: u64,
}

/// Call paths, each below its caller's.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    children: HashMap<(NodeId, NameId), NodeId>,
    /// Whether there was more than fits.
    pub is_full: bool,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Node { parent: ROOT, name: 0, own: 0 };
        Self { nodes: vec![root], children: HashMap::new(), is_full: false }
    }
}

impl Tree {
    /// All call paths. The first one is that of everything; the caller's comes before those that it called.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The call path of a function that another one calls.
    pub fn child(&mut self, parent: NodeId, name: NameId) -> NodeId {
        if let Some(&child) = self.children.get(&(parent, name)) {
            return child;
        }
        if self.nodes.len() >= MOST_NODES {
            self.is_full = true;
            return parent;
        }
        let child = self.nodes.len() as NodeId;
        self.nodes.push(Node { parent, name, own: 0 });
        self.children.insert((parent, name), child);
        child
    }

    /// Adds to what was counted in a function itself.
    pub fn add(&mut self, node: NodeId, count: u64) {
        self.nodes[node as usize].own += count;
    }

    /// What was counted on each call path, with what it called.
    pub fn totals(&self) -> Vec<u64> {
        let mut totals: Vec<u64> = self.nodes.iter().map(|node| node.own).collect();
        for index in (1..self.nodes.len()).rev() {
            totals[self.nodes[index].parent as usize] += totals[index];
        }
        totals
    }

    /// All call paths but that of everything, each behind its caller's: those of one caller in the order of their
    /// names. With each, how many callers it has.
    pub fn in_order(&self, names: &Names) -> Vec<(NodeId, usize)> {
        let mut children = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            children[node.parent as usize].push(index as NodeId);
        }
        for children in &mut children {
            children.sort_by_key(|&child| std::cmp::Reverse(names.get(self.nodes[child as usize].name)));
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut left: Vec<_> = children[ROOT as usize].iter().map(|&child| (child, 0)).collect();
        while let Some((node, callers)) = left.pop() {
            order.push((node, callers));
            left.extend(children[node as usize].iter().map(|&child| (child, callers + 1)));
        }
        order
    }
}

/// What is known of an address.
#[derive(Debug)]
pub struct Place {
    /// The functions: the outermost first, then those that are inlined in it. None if none is known.
    pub functions: Vec<NameId>,
    /// The file and the line.
    pub line: Option<(NameId, u32)>,
}

/// Makes a tree of names from addresses.
pub struct Builder<'a> {
    symbols: Option<&'a Symbols>,
    known: HashMap<u32, Rc<Place>>,
    /// The names of functions and files.
    pub names: Names,
    /// The call paths.
    pub tree: Tree,
    /// What was counted in each line.
    pub lines: BTreeMap<(NameId, u32), u64>,
}

impl<'a> Builder<'a> {
    pub fn new(symbols: Option<&'a Symbols>) -> Self {
        Self {
            symbols,
            known: HashMap::new(),
            names: Names::default(),
            tree: Tree::default(),
            lines: BTreeMap::new(),
        }
    }

    /// What is known of an address.
    pub fn place(&mut self, address: u32) -> Rc<Place> {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        let functions = self.symbols.map(|symbols| symbols.functions(address)).unwrap_or_default();
        let line = functions.first().and_then(|function| function.source.as_ref());
        let line = line.map(|source| (self.names.id(&source.shown), source.line));
        let named = functions.iter().rev().filter_map(|function| function.name.as_deref());
        let place = Rc::new(Place { functions: named.map(|name| self.names.id(name)).collect(), line });
        if self.known.len() < MOST_KNOWN {
            self.known.insert(address, place.clone());
        }
        place
    }

    /// The call path of the functions at an address, below that of a caller. `entry` stands for a function without a
    /// name.
    pub fn below(&mut self, caller: NodeId, address: u32, entry: u32) -> NodeId {
        let place = self.place(address);
        if place.functions.is_empty() {
            let name = self.names.id(&format!("{entry:#010x}"));
            return self.tree.child(caller, name);
        }
        place.functions.iter().fold(caller, |node, &name| self.tree.child(node, name))
    }

    /// Counts at an address, on this call path.
    pub fn count(&mut self, node: NodeId, address: u32, count: u64) {
        self.tree.add(node, count);
        if let Some(line) = self.place(address).line {
            *self.lines.entry(line).or_default() += count;
        }
    }
}
