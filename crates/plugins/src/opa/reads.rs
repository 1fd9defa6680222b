//! What a compiled policy looks at: where a decision is to hold for other requests, they must be alike in all of it.
//!
//! The input is loaded into a register and taken apart from there. A use that is not understood is one of all of it.

use std::collections::BTreeSet;

use regorus::Value;
use regorus::rvm::instructions::{Instruction, LiteralOrRegister};
use regorus::rvm::program::Program;

/// Functions whose result is not the same for the same arguments.
const FROM_OUTSIDE: [&str; 6] =
    ["time.now_ns", "rand.intn", "uuid.rfc4122", "http.send", "opa.runtime", "net.lookup_ip_addr"];

/// A part of the input by the names that lead to it. Without any it is all of it.
pub(super) type Path = Vec<String>;

/// A function in a program whose result is another one each time.
pub(super) fn from_outside(program: &Program) -> Option<&str> {
    let names = program.builtin_info_table.iter().map(|info| info.name.as_str());
    let awaits = |instruction: &Instruction| matches!(instruction, Instruction::HostAwait { .. });
    let awaited = program.instructions.iter().any(awaits).then_some("await");
    names.into_iter().find(|name| FROM_OUTSIDE.contains(name)).or(awaited)
}

/// The parts of the input that a program may look at.
pub(super) fn of_input(program: &Program) -> BTreeSet<Path> {
    let places = places(program);
    let loaded = |(place, instruction): (&usize, &Instruction)| match instruction {
        Instruction::LoadInput { dest } => Some((*place, *dest)),
        _ => None,
    };
    let instructions = || places.iter().zip(&program.instructions);
    let holders: BTreeSet<(usize, u8)> = instructions().filter_map(loaded).collect();
    let mut paths = BTreeSet::new();
    for (place, instruction) in instructions() {
        let holds = |register: u8| holders.contains(&(*place, register));
        let operands = match taken_apart(program, instruction) {
            Some((root, path, others)) if holds(root) => {
                paths.insert(path);
                others
            }
            Some((root, _, others)) => [vec![root], others].concat(),
            None => operands(program, instruction),
        };
        if operands.into_iter().any(holds) {
            paths.insert(Path::new());
        }
    }
    paths
}

/// For each instruction, the definition it belongs to: whoever loads the input there uses it there. Zero is before all.
fn places(program: &Program) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut place = 0;
    for info in &program.rule_infos {
        let blocks = &info.destructuring_blocks;
        for definition in 0..info.definitions.len().max(blocks.len()) {
            place += 1;
            let bodies = info.definitions.get(definition).into_iter().flatten();
            let all = bodies.chain(blocks.get(definition).into_iter().flatten());
            starts.extend(all.map(|start| (*start as usize, place)));
        }
    }
    starts.sort_unstable();
    let place = |instruction: usize| {
        let behind = starts.partition_point(|(start, _)| *start <= instruction);
        behind.checked_sub(1).map_or(0, |last| starts[last].1)
    };
    (0..program.instructions.len()).map(place).collect()
}

/// What an instruction takes a part of: the register, the names that are written, and registers with others.
fn taken_apart(program: &Program, instruction: &Instruction) -> Option<(u8, Path, Vec<u8>)> {
    let named = |number: u16| match program.literals.get(usize::from(number)) {
        Some(Value::String(name)) => Some(name.to_string()),
        _ => None,
    };
    match instruction {
        Instruction::IndexLiteral { container, literal_idx, .. } => {
            Some((*container, named(*literal_idx).into_iter().collect(), Vec::new()))
        }
        Instruction::Index { container, key, .. } => Some((*container, Path::new(), vec![*key])),
        Instruction::ChainedIndex { params_index } => {
            let params = program.instruction_data.chained_index_params.get(usize::from(*params_index))?;
            let written = params.path_components.iter().map_while(|component| match component {
                LiteralOrRegister::Literal(number) => named(*number),
                LiteralOrRegister::Register(_) => None,
            });
            Some((params.root, written.collect(), params.register_numbers()))
        }
        _ => None,
    }
}

/// The registers that any other instruction looks at.
fn operands(program: &Program, instruction: &Instruction) -> Vec<u8> {
    use Instruction as I;
    match *instruction {
        I::Move { src: one, .. }
        | I::Not { operand: one, .. }
        | I::Return { value: one }
        | I::HostAwait { arg: one, .. }
        | I::Count { collection: one, .. }
        | I::Guard { register: one, .. }
        | I::ReturnUndefinedIfNotTrue { condition: one }
        | I::CoalesceUndefinedToNull { register: one } => vec![one],
        I::Add { left, right, .. }
        | I::Sub { left, right, .. }
        | I::Mul { left, right, .. }
        | I::Div { left, right, .. }
        | I::Mod { left, right, .. }
        | I::Eq { left, right, .. }
        | I::Ne { left, right, .. }
        | I::Lt { left, right, .. }
        | I::Le { left, right, .. }
        | I::Gt { left, right, .. }
        | I::Ge { left, right, .. }
        | I::And { left, right, .. }
        | I::Or { left, right, .. }
        | I::AssertEq { left, right }
        | I::PolicyCondition { left, right, .. } => vec![left, right],
        I::ObjectSet { obj, key, value } => vec![obj, key, value],
        I::ArrayPush { arr: to, value }
        | I::ArrayPushDefined { arr: to, value }
        | I::SetAdd { set: to, value }
        | I::Contains { collection: to, value, .. } => vec![to, value],
        I::ComprehensionYield { value_reg, key_reg } => {
            [Some(value_reg), key_reg].into_iter().flatten().collect()
        }
        I::AllOfNext { check, result, .. } | I::AnyOfNext { check, result, .. } => vec![check, result],
        _ => operands_in_table(program, instruction),
    }
}

/// The same for instructions whose operands are in a table. Those that are left have none.
fn operands_in_table(program: &Program, instruction: &Instruction) -> Vec<u8> {
    use Instruction as I;
    let data = &program.instruction_data;
    fn at<T>(table: &[T], index: u16) -> Option<&T> {
        table.get(usize::from(index))
    }
    let found = match *instruction {
        I::BuiltinCall { params_index } => {
            at(&data.builtin_call_params, params_index).map(|call| call.arg_registers().to_vec())
        }
        I::FunctionCall { params_index } => {
            at(&data.function_call_params, params_index).map(|call| call.arg_registers().to_vec())
        }
        I::ObjectCreate { params_index } => at(&data.object_create_params, params_index).map(|object| {
            let written = object.literal_key_fields.iter().map(|(_, value)| *value);
            written.chain(object.fields.iter().flat_map(|(key, value)| [*key, *value])).collect()
        }),
        I::ArrayCreate { params_index } => {
            at(&data.array_create_params, params_index).map(|array| array.elements.clone())
        }
        I::SetCreate { params_index } => {
            at(&data.set_create_params, params_index).map(|set| set.elements.clone())
        }
        I::LoopStart { params_index } => {
            at(&data.loop_params, params_index).map(|each| vec![each.collection])
        }
        I::ComprehensionBegin { params_index } => {
            at(&data.comprehension_begin_params, params_index).map(|each| vec![each.collection_reg])
        }
        I::VirtualDataDocumentLookup { params_index } => {
            at(&data.virtual_data_document_lookup_params, params_index).map(|part| part.register_numbers())
        }
        _ => None,
    };
    found.unwrap_or_default()
}
