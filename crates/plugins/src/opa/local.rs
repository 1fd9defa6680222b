//! Policies in Rego that are evaluated in the gateway, by `regorus`.
//!
//! They are compiled when the configuration is loaded. An evaluation gets a short time on the worker; one that takes longer is
//! begun again beside the traffic, and so are those that follow, for a while. The time is looked at between two instructions,
//! so functions whose cost has no bound are not there. What counts in the end is how long a processor was busy with it: on a
//! machine with much else to do, an evaluation that had to wait for one is begun again.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fmt, fs, thread};

use plugin::BuildError;
use plugin::clock::busy_time;
use plugin::model::Value as Json;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::Program;
use regorus::rvm::vm::{RegoVM, VmError};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::config::Rego;
use super::{dependencies, reads};

/// What the compiler says of a rule that is not there.
const NO_SUCH_RULE: &str = "not a valid rule path";
/// The path before the name of a rule, as at an OPA server.
const PREFIX: &str = "/v1/data/";
/// How long a worker evaluates by itself.
const ON_THE_WORKER: Duration = Duration::from_micros(500);
/// Instructions between two looks at the time.
const BETWEEN_LOOKS: NonZeroU32 = NonZeroU32::new(16).unwrap();
/// An evaluation that had to wait for a processor is begun so many times at most.
const MOST_ATTEMPTS: u32 = 6;
/// Instructions of an evaluation at most: its time ends it before.
const MOST_INSTRUCTIONS: usize = 1 << 30;
/// After an evaluation that took long, so many are done beside the traffic at once.
const TAKEN_FOR_SLOW: u32 = 64;
/// Bytes of the stack of a compiler.
const STACK_OF_COMPILER: usize = 32 << 20;
/// Levels of brackets in a policy, at most.
const MOST_NESTED: usize = 12;
/// Largest file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// Functions that can be made to take any time or memory by what they are called with, and at once.
const WITHOUT_BOUND: [&str; 6] = [
    "bits.lsh",
    "net.cidr_expand",
    "numbers.range",
    "numbers.range_step",
    "units.parse",
    "units.parse_bytes",
];

/// A rule, ready to be evaluated.
pub(super) struct Policy {
    program: Arc<Program>,
    entry: Box<str>,
    data: Value,
    timeout: Duration,
    /// So many evaluations are still to be done beside the traffic.
    slow: AtomicU32,
}

/// The input of an evaluation.
pub(super) struct Input(Value);

/// How long an evaluation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// A moment, whoever has the processor: a worker waits for it.
    Quick,
    /// A moment of the processor: a worker waits for it, because nobody else can be had.
    Patient,
    /// The time that is configured, of the processor.
    Full,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It took longer than it may.
    Late,
    /// The rule has no value for this request.
    Undefined,
    /// It cannot be evaluated.
    Failed(String),
}

impl Policy {
    /// Compiles the policies for the rule at `path`.
    ///
    /// # Errors
    /// What is wrong with them, and where.
    pub(super) fn new(config: &Rego, path: &str) -> Result<Self, BuildError> {
        let entry = entry(path)?;
        let data = data(config)?;
        let policies = policies(config)?;
        let program = compile_apart(&policies, config, &entry, &data)?;
        let timeout = Duration::from_secs_f64(config.timeout);
        Ok(Self { program, entry: entry.into(), data, timeout, slow: AtomicU32::new(0) })
    }

    /// The parts of the input that may matter for a decision.
    ///
    /// # Errors
    /// What else matters, so that the same input may lead to another decision.
    pub(super) fn reads(&self) -> Result<BTreeSet<reads::Path>, BuildError> {
        match reads::from_outside(&self.program) {
            None => Ok(reads::of_input(&self.program)),
            Some(function) => {
                let message = format!(
                    "the policies call {function}, so that no decision holds for another request: leave ttl and refusal_ttl at 0"
                );
                Err(BuildError::new("config.cache", message))
            }
        }
    }

    /// Whether evaluations have taken long lately, so that a worker had better not try.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Evaluates the rule. [`Trouble::Late`] with [`Pace::Quick`] means that it is worth another try.
    pub(super) fn evaluate(&self, input: &Input, pace: Pace) -> Result<Json, Trouble> {
        let moment = ON_THE_WORKER.min(self.timeout);
        match pace {
            Pace::Quick => {
                let result = self.run(input, moment);
                if result == Err(Trouble::Late) {
                    self.slow.store(TAKEN_FOR_SLOW, Ordering::Relaxed);
                }
                result
            }
            Pace::Patient => patiently(moment, busy_time, |limit| self.run(input, limit)),
            Pace::Full => patiently(self.timeout, busy_time, |limit| self.run(input, limit)),
        }
    }

    /// Evaluates the rule, for so long at most.
    fn run(&self, input: &Input, limit: Duration) -> Result<Json, Trouble> {
        let mut machine = RegoVM::new();
        machine.load_program(self.program.clone());
        machine.set_max_instructions(MOST_INSTRUCTIONS);
        machine
            .set_execution_timer_config(Some(ExecutionTimerConfig { limit, check_interval: BETWEEN_LOOKS }));
        machine.set_data(self.data.clone()).map_err(|error| Trouble::Failed(error.to_string()))?;
        machine.set_input(input.0.clone());
        match machine.execute_entry_point_by_name(&self.entry) {
            Ok(Value::Bool(decision)) => Ok(Json::Bool(decision)),
            Ok(Value::Undefined) => Err(Trouble::Undefined),
            Ok(value) => serde_json::to_value(value).map_err(|error| Trouble::Failed(error.to_string())),
            Err(VmError::TimeLimitExceeded { .. } | VmError::InstructionLimitExceeded { .. }) => {
                Err(Trouble::Late)
            }
            Err(error) => Err(Trouble::Failed(error.to_string())),
        }
    }
}

/// Makes attempts until one comes to an end, or all of them have kept the processor busy for most of `limit`, or there were too
/// many. `busy` says how long it was.
///
/// The first has as much time as that. Whoever shares a processor needs more, so those that follow have twice what is left of it:
/// should nobody else be there then, all of them together are busy for twice `limit` and no longer.
pub(super) fn patiently(
    limit: Duration,
    busy: impl Fn() -> Option<Duration>,
    mut attempt: impl FnMut(Duration) -> Result<Json, Trouble>,
) -> Result<Json, Trouble> {
    let begun = busy();
    let mut time = limit;
    for _ in 0..MOST_ATTEMPTS {
        let result = attempt(time);
        if result != Err(Trouble::Late) {
            return result;
        }
        let spent = begun.and_then(|begun| busy()?.checked_sub(begun));
        let Some(spent) = spent.filter(|spent| *spent < limit * 3 / 4) else { break };
        time = (limit - spent) * 2;
    }
    Err(Trouble::Late)
}

impl Input {
    /// Reads an `input` document.
    ///
    /// # Errors
    /// When it is no JSON.
    pub(super) fn read(document: &[u8]) -> Result<Self, Trouble> {
        let text = std::str::from_utf8(document).map_err(|error| Trouble::Failed(error.to_string()))?;
        Value::from_json_str(text).map(Self).map_err(|error| Trouble::Failed(error.to_string()))
    }
}

/// The rule that a path names, as in `data.example.allow`.
fn entry(path: &str) -> Result<String, BuildError> {
    let wrong = || {
        let message = "with `rego` it names a package and a rule of it, as in /v1/data/example/allow";
        BuildError::new("config.opa_path", message)
    };
    let names: Vec<&str> = path.strip_prefix(PREFIX).ok_or_else(wrong)?.split('/').collect();
    let is_name = |name: &&str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
    };
    match names.len() > 1 && names.iter().all(is_name) {
        true => Ok(format!("data.{}", names.join("."))),
        false => Err(wrong()),
    }
}

/// A policy with the field that it comes from and the name that its positions are told with.
struct Source {
    field: String,
    name: String,
    text: String,
}

fn policies(config: &Rego) -> Result<Vec<Source>, BuildError> {
    let mut sources = Vec::new();
    if let Some(text) = &config.policy {
        let field = "config.rego.policy".to_owned();
        sources.push(Source { name: field.clone(), field, text: text.clone() });
    }
    for (number, file) in config.files.iter().enumerate() {
        let field = format!("config.rego.files[{number}]");
        let text = read(file).map_err(|error| BuildError::new(field.clone(), error))?;
        sources.push(Source { field, name: file.clone(), text });
    }
    Ok(sources)
}

fn read(file: &str) -> Result<String, String> {
    let size = fs::metadata(file).map_err(|error| format!("{file}: {error}"))?.len();
    if size > LARGEST_FILE {
        return Err(format!("{file}: is larger than {LARGEST_FILE} bytes"));
    }
    fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

fn data(config: &Rego) -> Result<Value, BuildError> {
    let mut all: BTreeMap<Value, Value> = BTreeMap::new();
    for (name, value) in config.data.iter().flatten() {
        all.insert(Value::from(name.as_str()), Value::from(value.clone()));
    }
    if let Some(file) = &config.data_file {
        let wrong = |message: String| BuildError::new("config.rego.data_file", message);
        let text = read(file).map_err(wrong)?;
        let members: BTreeMap<String, Json> =
            serde_json::from_str(&text).map_err(|error| wrong(format!("{file}: {error}")))?;
        for (name, value) in members {
            if all.insert(Value::from(name.as_str()), Value::from(value)).is_some() {
                return Err(wrong(format!("{file}: {name} is in config.rego.data, too")));
            }
        }
    }
    Ok(Value::from(all))
}

/// Compiles on a thread of its own: the compiler goes as deep as policies are nested, and may give up.
fn compile_apart(
    policies: &[Source],
    config: &Rego,
    entry: &str,
    data: &Value,
) -> Result<Arc<Program>, BuildError> {
    let lost = |why: &str| BuildError::new("config.rego", format!("the policies cannot be compiled: {why}"));
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("policies".to_owned()).stack_size(STACK_OF_COMPILER);
        let compiling = thread.spawn_scoped(scope, || compile(policies, config, entry, data));
        let compiling = compiling.map_err(|error| lost(&error.to_string()))?;
        compiling.join().unwrap_or_else(|_| Err(lost("the compiler has given up")))
    })
}

fn compile(
    policies: &[Source],
    config: &Rego,
    entry: &str,
    data: &Value,
) -> Result<Arc<Program>, BuildError> {
    let mut engine = Engine::new();
    engine.set_rego_v0(config.version == "v0");
    for policy in policies {
        bounded(policy)?;
        let added = engine.add_policy(policy.name.clone(), policy.text.clone());
        added.map_err(|error| told(policies, &policy.field, &error.to_string()))?;
    }
    let whole = |error: String| told(policies, "config.rego", &error);
    let packages = engine.get_packages().unwrap_or_default().join(", ");
    let rule = regorus::Rc::from(entry);
    let compiled = engine.compile_with_entrypoint(&rule).map_err(|error| match error.to_string() {
        error if error.contains(NO_SUCH_RULE) => {
            let message = format!("there is no rule {entry}: the policies are of {packages}");
            BuildError::new("config.opa_path", message)
        }
        error => whole(error),
    })?;
    let program =
        Compiler::compile_from_policy(&compiled, &[entry]).map_err(|error| whole(error.to_string()))?;
    dependencies::check(&program).map_err(|message| BuildError::new("config.rego", message))?;
    let unbounded =
        program.builtin_info_table.iter().find(|info| WITHOUT_BOUND.contains(&info.name.as_str()));
    if let Some(function) = unbounded {
        let message = format!("{} is not to be had here: nothing bounds what it costs", function.name);
        return Err(BuildError::new("config.rego", message));
    }
    program.check_rule_data_conflicts(data).map_err(|error| whole(error.to_string()))?;
    Ok(program)
}

/// Checks that brackets are not nested deeply: the parser tries what they may mean, and each level doubles its work.
fn bounded(policy: &Source) -> Result<(), BuildError> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (line, text) in policy.text.lines().enumerate() {
        for (column, letter) in text.chars().enumerate() {
            match (quote, letter) {
                _ if escaped => escaped = false,
                (Some('"'), '\\') => escaped = true,
                (Some(open), letter) if open == letter => quote = None,
                (Some(_), _) => {}
                (None, '"' | '`') => quote = Some(letter),
                (None, '#') => break,
                (None, '(' | '[' | '{') => depth += 1,
                (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MOST_NESTED {
                let what = format!("brackets are nested more than {MOST_NESTED} levels deep");
                return Err(policy.wrong(&(line + 1).to_string(), &(column + 1).to_string(), &what));
            }
        }
        escaped = false;
        // Only raw strings go on in the next line.
        quote = quote.filter(|quote| *quote == '`');
    }
    Ok(())
}

/// An error of the compiler, on one line. Its own has the position, the line and what is wrong with it, each on a line.
fn told(policies: &[Source], field: &str, error: &str) -> BuildError {
    let lines = error.lines().map(str::trim);
    let position = lines.clone().find_map(|line| line.strip_prefix("--> "));
    let what = lines.clone().filter_map(|line| line.strip_prefix("error: ")).next();
    let what = what.unwrap_or_else(|| error.lines().next_back().unwrap_or(error)).trim();
    let Some(position) = position else { return BuildError::new(field, what) };
    let source = policies.iter().find(|policy| position.starts_with(&policy.name));
    let Some(source) = source else { return BuildError::new(field, format!("{position}: {what}")) };
    let mut numbers = position[source.name.len()..].split(':').skip(1);
    source.wrong(numbers.next().unwrap_or("?"), numbers.next().unwrap_or("?"), what)
}

impl Source {
    /// What is wrong in a line.
    fn wrong(&self, line: &str, column: &str, what: &str) -> BuildError {
        let place = format!("line {line}, column {column}: {what}");
        match self.name == self.field {
            true => BuildError::new(self.field.clone(), place),
            false => BuildError::new(self.field.clone(), format!("{}: {place}", self.name)),
        }
    }
}

impl Trouble {
    /// For an evaluation that has ended with a panic.
    pub(super) fn lost() -> Self {
        Self::Failed("the evaluation has ended".to_owned())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => out.write_str("the evaluation takes longer than it may"),
            Self::Undefined => out.write_str("the rule has no value"),
            Self::Failed(why) => out.write_str(why),
        }
    }
}
