//! Which rules a compiled policy evaluates for which others. None may need itself, as at an OPA server, and no chain of them
//! may be long: the evaluator goes down such a chain on the stack.

use std::collections::BTreeSet;

use regorus::Value;
use regorus::rvm::instructions::{Instruction, LiteralOrRegister};
use regorus::rvm::program::Program;

/// Rules in a chain, at most.
const LONGEST_CHAIN: usize = 32;

/// Checks the rules of a program.
///
/// # Errors
/// The chain that has no end, or is too long.
pub(super) fn check(program: &Program) -> Result<(), String> {
    let needs = needs(program);
    let mut lengths = vec![None; needs.len()];
    for rule in 0..needs.len() {
        follow(program, &needs, rule, &mut lengths, &mut Vec::new())?;
    }
    Ok(())
}

/// The rules that each rule needs, by their numbers.
fn needs(program: &Program) -> Vec<BTreeSet<usize>> {
    let mut needs = vec![BTreeSet::new(); program.rule_infos.len()];
    let starts = starts(program);
    for (place, instruction) in program.instructions.iter().enumerate() {
        let section = starts.partition_point(|(start, _)| *start <= place);
        // Before the first rule there is what evaluates the rule that is asked for.
        let Some((_, rule)) = section.checked_sub(1).and_then(|section| starts.get(section)) else {
            continue;
        };
        if let Some(needs) = needs.get_mut(*rule) {
            needs.extend(needed_by(program, instruction));
        }
    }
    needs
}

/// Where the instructions of rules begin, in order, with the rules' numbers. Those of a rule follow each other.
fn starts(program: &Program) -> Vec<(usize, usize)> {
    let mut starts = Vec::new();
    for (rule, info) in program.rule_infos.iter().enumerate() {
        let bodies = info.definitions.iter().flatten();
        let all = bodies.chain(info.destructuring_blocks.iter().flatten());
        starts.extend(all.filter_map(|start| Some((usize::try_from(*start).ok()?, rule))));
    }
    starts.sort_unstable();
    starts
}

/// The rules that an instruction may have evaluated.
fn needed_by(program: &Program, instruction: &Instruction) -> Vec<usize> {
    let data = &program.instruction_data;
    match instruction {
        Instruction::CallRule { rule_index, .. } => vec![usize::from(*rule_index)],
        Instruction::FunctionCall { params_index } => {
            let call = data.function_call_params.get(usize::from(*params_index));
            call.map(|call| usize::from(call.func_rule_index)).into_iter().collect()
        }
        // A part of `data` with names that may be known only when it is evaluated.
        Instruction::VirtualDataDocumentLookup { params_index } => {
            let lookup = data.virtual_data_document_lookup_params.get(usize::from(*params_index));
            let path = lookup.map_or(&[][..], |lookup| &lookup.path_components);
            let rules = program.rule_infos.iter().enumerate();
            rules.filter(|(_, info)| is_below(program, &info.name, path)).map(|(rule, _)| rule).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether looking at `path` may evaluate the rule of this name.
fn is_below(program: &Program, name: &str, path: &[LiteralOrRegister]) -> bool {
    // What is written in brackets may hold dots.
    name.contains('[')
        || name.split('.').skip(1).zip(path).all(|(name, component)| match component {
            LiteralOrRegister::Register(_) => true,
            LiteralOrRegister::Literal(number) => match program.literals.get(usize::from(*number)) {
                Some(Value::String(text)) => **text == *name,
                _ => true,
            },
        })
}

/// The length of the longest chain that begins with `rule`; `chain` leads to it.
fn follow(
    program: &Program,
    needs: &[BTreeSet<usize>],
    rule: usize,
    lengths: &mut [Option<usize>],
    chain: &mut Vec<usize>,
) -> Result<usize, String> {
    if let Some(Some(known)) = lengths.get(rule) {
        return Ok(*known);
    }
    let is_circle = chain.contains(&rule);
    chain.push(rule);
    if is_circle || chain.len() > LONGEST_CHAIN {
        return Err(told(program, chain, is_circle));
    }
    let mut longest = 0;
    for needed in needs.get(rule).into_iter().flatten() {
        longest = longest.max(follow(program, needs, *needed, lengths, chain)?);
    }
    chain.pop();
    if chain.len() + longest >= LONGEST_CHAIN {
        chain.push(rule);
        return Err(told(program, chain, false));
    }
    if let Some(length) = lengths.get_mut(rule) {
        *length = Some(longest + 1);
    }
    Ok(longest + 1)
}

fn told(program: &Program, chain: &[usize], is_circle: bool) -> String {
    let names = chain.iter().filter_map(|rule| program.rule_infos.get(*rule)).map(|info| info.name.as_str());
    let last = names.clone().next_back().unwrap_or_default();
    match is_circle {
        true => {
            let circle: Vec<&str> = names.skip_while(|name| *name != last).collect();
            format!("{last} needs itself: {}", circle.join(" -> "))
        }
        false => format!("{last} is part of a chain of more than {LONGEST_CHAIN} rules that need each other"),
    }
}
