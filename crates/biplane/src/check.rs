//! `biplane check`: every problem of declarative files at once. It opens no port and touches no file but those, and the
//! secrets that they refer to.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use engine::{DnsSettings, Gateway, Resolver};
use model::declarative::{load_with, locate};
use model::{Catalog, Config, Problem, Severity, Source};
use plugin::Services;
use plugin::clock::Clock;
use serde_json::Value;

use crate::cli::Check;
use crate::run::{say, variables_over};
use crate::settings::{Environment, about_secrets};
use crate::vaults::ProcessVaults;
use crate::{COULD_NOT_START, WRONG_INPUT, WRONG_SETTINGS, conf, text};

/// Checks the files.
pub fn run(arguments: &Check) -> ExitCode {
    let checker = match Checker::new(arguments.conf.as_deref()) {
        Ok(checker) => checker,
        Err((problems, exit)) => {
            problems.lines().for_each(|problem| say(&format!("error: {problem}")));
            return ExitCode::from(exit);
        }
    };
    let mut found = Vec::new();
    let mut worst = 0;
    for file in &arguments.files {
        let exit = match text::read(file) {
            Ok(text) => checker.check_file(file, &text, arguments.json.then_some(&mut found)),
            Err(error) => {
                say(&format!("error: cannot read {}: {error}", file.display()));
                COULD_NOT_START
            }
        };
        worst = worst.max(exit);
    }
    if arguments.json && !print(&Value::Array(found)) {
        worst = worst.max(COULD_NOT_START);
    }
    ExitCode::from(worst)
}

struct Checker {
    catalog: Catalog,
    vaults: ProcessVaults,
    services: Arc<Services>,
    resolver: Arc<Resolver>,
}

impl Checker {
    /// The error is what is wrong, and the exit code for it.
    fn new(settings: Option<&Path>) -> Result<Self, (String, u8)> {
        let file = settings.map_or_else(|| Ok(Environment::new()), conf::read);
        let read = file.and_then(|file| about_secrets(variables_over(file)));
        let (secrets, tls) = read.map_err(|problems| (problems, WRONG_SETTINGS))?;
        let resolver = Resolver::start(DnsSettings::default());
        Ok(Self {
            catalog: plugins::catalog(),
            vaults: ProcessVaults::of_process(&secrets, &tls),
            services: Services::new(1, Clock::default(), true),
            resolver: resolver.map_err(|error| (error.to_string(), COULD_NOT_START))?,
        })
    }

    /// Tells what is wrong with one file, to `found` or on standard error. Returns the exit code.
    fn check_file(&self, file: &Path, text: &str, found: Option<&mut Vec<Value>>) -> u8 {
        let name = file.display().to_string();
        let checked = self.check(&name, text);
        let problems = match &checked {
            Ok(config) => &locate(&name, text, &self.catalog, config.warnings.clone()),
            Err(problems) => problems,
        };
        let source = Source::new(&name, text);
        match found {
            Some(found) => found.extend(problems.iter().map(|problem| source.to_json(problem))),
            None => {
                problems.iter().for_each(|problem| say(&source.render(problem)));
                say(&format!("{name}: {}", summary(&checked)));
            }
        }
        if checked.is_ok() { 0 } else { WRONG_INPUT }
    }

    fn check(&self, name: &str, text: &str) -> Result<Arc<Config>, Vec<Problem>> {
        let config = Arc::new(load_with(name, text, &self.catalog, &self.vaults)?);
        let honoured = Gateway::check(config.clone(), plugins::ROOMS, &self.services, &self.resolver);
        honoured.map_err(|problems| {
            [config.warnings.clone(), locate(name, text, &self.catalog, problems)].concat()
        })?;
        Ok(config)
    }
}

fn summary(checked: &Result<Arc<Config>, Vec<Problem>>) -> String {
    let (problems, rest) = match checked {
        Ok(config) => {
            let services = count(config.services.len(), "service");
            let (routes, plugins) =
                (count(config.routes.len(), "route"), count(config.plugins.len(), "plugin"));
            (&config.warnings, format!("; {services}, {routes}, {plugins}"))
        }
        Err(problems) => (problems, String::new()),
    };
    let warnings = problems.iter().filter(|problem| problem.severity == Severity::Warning).count();
    let errors = problems.len() - warnings;
    match (errors, warnings) {
        (0, 0) => format!("ok{rest}"),
        (0, _) => format!("ok, {}{rest}", count(warnings, "warning")),
        (_, 0) => count(errors, "error"),
        _ => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn count(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Prints the result. Whether it could be.
fn print(value: &Value) -> bool {
    writeln!(io::stdout(), "{value:#}").is_ok()
}
