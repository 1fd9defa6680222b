//! Replays the corpus of every fuzz target, and a fixed number of mutants made of it by a fixed generator: the same
//! inputs on every machine, a few seconds in all.

#![allow(clippy::unwrap_used, reason = "test code")]

use libtest_mimic::{Arguments, Failed, Trial};
use properties::{TARGETS, Target};
use std::any::Any;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut trials = vec![Trial::test("every_target_is_here", every_target_is_here)];
    for target in TARGETS {
        trials.push(Trial::test(format!("{}/seeds", target.name), || seeds_hold(target)));
        trials.push(Trial::test(format!("{}/mutants", target.name), || mutants_hold(target)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The folder of everything about fuzzing.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A target without a binary is fuzzed by nobody, one without a corpus or a property is not tested here.
fn every_target_is_here() -> Result<(), Failed> {
    let named: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    for folder in ["fuzz_targets", "corpus"] {
        let stems = entries(&root().join(folder));
        let found = stems.iter().filter_map(|path| path.file_stem()).filter_map(OsStr::to_str);
        let found: BTreeSet<String> = found.map(str::to_owned).collect();
        if found != named {
            return Err(format!("{folder} has {found:?}, the properties are {named:?}").into());
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let files = entries(&root().join("corpus").join(target.name));
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn seeds_hold(target: &Target) -> Result<(), Failed> {
    corpus(target).iter().try_for_each(|(path, bytes)| holds(target, bytes, &path.display().to_string()))
}

fn mutants_hold(target: &Target) -> Result<(), Failed> {
    let seeds: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, bytes)| bytes).collect();
    let mut mutator = Mutator(0x9e37_79b9_7f4a_7c15);
    for number in 0..target.mutants {
        holds(target, &mutator.mutated(&seeds, target.tokens), &format!("mutant {number}"))?;
    }
    Ok(())
}

/// Runs one input; a breach names it, so that it can be put into the corpus.
fn holds(target: &Target, bytes: &[u8], name: &str) -> Result<(), Failed> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)))
        .map_err(|panic| format!("{name}: {}\ninput: b\"{}\"", message(&*panic), bytes.escape_ascii()).into())
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// Xorshift: no seed of the machine's is in it.
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    fn mutated(&mut self, seeds: &[Vec<u8>], tokens: &[&[u8]]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len() + 1);
            let end = (place + self.below(8)).min(bytes.len());
            let token = tokens[self.below(tokens.len())];
            match self.below(8) {
                0 => drop(bytes.splice(place..end, token.iter().copied())),
                1 | 2 => drop(bytes.splice(place..place, token.iter().copied())),
                3 => drop(bytes.drain(place..end)),
                4 => bytes.extend_from_within(place..end),
                5 => bytes.truncate(place),
                6 => self.cross(&mut bytes, place, seeds),
                _ if place == bytes.len() => bytes.push(u8::try_from(self.below(256)).unwrap()),
                _ => bytes[place] = u8::try_from(self.below(256)).unwrap(),
            }
        }
        bytes
    }

    /// Goes on with the end of another seed.
    fn cross(&mut self, bytes: &mut Vec<u8>, place: usize, seeds: &[Vec<u8>]) {
        let other = &seeds[self.below(seeds.len())];
        bytes.truncate(place);
        bytes.extend_from_slice(&other[self.below(other.len() + 1)..]);
    }
}
