//! Trees over byte strings that tell, in one walk, which of the planted strings a text begins with.

use model::courtesy::worked;

/// No node, no value.
const NONE: u32 = u32::MAX;

/// Radix trees in common arenas. Each tree is built once and never changed.
#[derive(Default)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    /// First byte of each node's label: the children of a node are neighbours, so one scan finds the right one.
    first_bytes: Vec<u8>,
    labels: Vec<u8>,
}

/// The root of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root(u32);

/// A string and the value that is found by it.
pub(super) type Seed<'a> = (&'a [u8], u32);

/// Aligned so that none lies in two lines of the processor's cache.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Node {
    label_start: u32,
    label_length: u32,
    children: u32,
    child_count: u16,
    value: u32,
    /// The nearest node above that has a value.
    above: u32,
}

/// Values of the strings that a text begins with, longest string first.
pub(super) struct Prefixes<'a> {
    forest: &'a Forest,
    node: u32,
}

/// A node whose label is in place and whose children are not: it stands for `seeds[low..high]`, which share
/// their first `depth` bytes.
struct Bud {
    node: usize,
    low: usize,
    high: usize,
    depth: usize,
}

impl Forest {
    /// Makes a tree of seeds that are sorted and differ.
    pub fn plant(&mut self, seeds: &[Seed<'_>]) -> Root {
        let root = self.push_node(&[], NONE);
        let mut buds = vec![Bud { node: root as usize, low: 0, high: seeds.len(), depth: 0 }];
        while let Some(bud) = buds.pop() {
            worked(300);
            self.unfold(&bud, seeds, &mut buds);
        }
        Root(root)
    }

    /// Gives a node its value and its children.
    fn unfold(&mut self, bud: &Bud, seeds: &[Seed<'_>], buds: &mut Vec<Bud>) {
        let mut low = bud.low;
        let mut above = self.nodes[bud.node].above;
        if low < bud.high && seeds[low].0.len() == bud.depth {
            self.nodes[bud.node].value = seeds[low].1;
            above = index(bud.node);
            low += 1;
        }
        self.nodes[bud.node].children = index(self.nodes.len());
        while low < bud.high {
            let byte = seeds[low].0[bud.depth];
            let same = seeds[low..bud.high].partition_point(|seed| seed.0[bud.depth] == byte);
            let high = low + same;
            let depth = bud.depth + shared(&seeds[low].0[bud.depth..], &seeds[high - 1].0[bud.depth..]);
            let node = self.push_node(&seeds[low].0[bud.depth..depth], above);
            self.nodes[bud.node].child_count += 1;
            buds.push(Bud { node: node as usize, low, high, depth });
            low = high;
        }
    }

    fn push_node(&mut self, label: &[u8], above: u32) -> u32 {
        let node = index(self.nodes.len());
        self.nodes.push(Node {
            label_start: index(self.labels.len()),
            label_length: index(label.len()),
            children: 0,
            child_count: 0,
            value: NONE,
            above,
        });
        self.first_bytes.push(label.first().copied().unwrap_or_default());
        self.labels.extend_from_slice(label);
        node
    }

    /// What `text` begins with.
    pub fn prefixes(&self, root: Root, text: &[u8]) -> Prefixes<'_> {
        let mut rest = text;
        let mut node = root.0;
        let mut deepest = NONE;
        loop {
            let reached = &self.nodes[node as usize];
            if reached.value != NONE {
                deepest = node;
            }
            let Some(child) = self.child(reached, rest) else { break };
            let label = self.label(child);
            // The first byte is known to be the same, and often there is no other.
            if label.len() > 1 && !rest.starts_with(label) {
                break;
            }
            rest = &rest[label.len()..];
            node = child;
        }
        Prefixes { forest: self, node: deepest }
    }

    fn child(&self, node: &Node, rest: &[u8]) -> Option<u32> {
        let start = node.children as usize;
        let bytes = &self.first_bytes[start..start + usize::from(node.child_count)];
        let (byte, first) = (*rest.first()?, *bytes.first()?);
        // They are sorted: an only child, or one of several digits, is where its byte says.
        let likely = usize::from(byte.wrapping_sub(first));
        let place = if bytes.get(likely) == Some(&byte) { likely } else { memchr::memchr(byte, bytes)? };
        Some(node.children + index(place))
    }

    fn label(&self, node: u32) -> &[u8] {
        let node = &self.nodes[node as usize];
        let start = node.label_start as usize;
        &self.labels[start..start + node.label_length as usize]
    }
}

impl Iterator for Prefixes<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let node = self.forest.nodes.get(self.node as usize)?;
        self.node = node.above;
        Some(node.value)
    }
}

/// How many bytes two texts begin with in common.
fn shared(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// A place or a length in a configuration.
pub(super) fn index(place: usize) -> u32 {
    u32::try_from(place).expect("a configuration is far smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_prefix_of_a_text_is_found_longest_first() {
        let mut forest = Forest::default();
        let seeds: [Seed<'_>; 6] =
            [(b"", 0), (b"/", 1), (b"/foo", 2), (b"/foo/bar", 3), (b"/fob", 4), (b"/q", 5)];
        let first = forest.plant(&seeds[1..]);
        let second = forest.plant(&seeds);
        let found = |root, text: &str| forest.prefixes(root, text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(found(first, "/foo/bar/baz"), [3, 2, 1]);
        assert_eq!(found(first, "/foo/ba"), [2, 1]);
        assert_eq!(found(first, "/fo"), [1]);
        assert_eq!(found(first, ""), Vec::<u32>::new());
        assert_eq!(found(second, ""), [0]);
        assert_eq!(found(second, "/fobar"), [4, 1, 0]);
    }

    #[test]
    fn an_empty_tree_holds_nothing() {
        let mut forest = Forest::default();
        let root = forest.plant(&[]);
        assert_eq!(forest.prefixes(root, b"/").count(), 0);
    }
}
