//! Makes rules ready to run, and finds what is wrong with them.

use plugin::claims::WantedClaims;
use plugin::figures::{Family, Kind};
use plugin::{Build, BuildError, Method};

use super::config::{self, Config, DEFAULT, PUBLIC, method, permission};
use super::expression::{Condition, Names};
use super::paths::{Index, Pattern, name_parameters};
use super::rules::{ClaimCondition, Counts, Default, Effect, Methods, Name, Otherwise, Rule, Rules};
use super::sources::{ClaimPath, Sources};
use super::vocabulary::Vocabulary;

static DECISIONS: Family = Family {
    name: "authorization_decisions_total",
    help: "Requests by the rule that decided about them; `failed` counts conditions without a value",
    kind: Kind::Counter,
    labels: &["plugin", "rule", "decision"],
};

struct Compiler<'a, 'b> {
    cx: &'a Build<'b>,
    plugin: String,
    wanted: &'a WantedClaims,
    roles: Vocabulary,
    scopes: Vocabulary,
    list: Vec<Rule>,
    paths: Index,
    methods: Methods,
}

/// Makes the rules of `config` ready.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn compile(config: &Config, cx: &Build<'_>) -> Result<Rules, BuildError> {
    let wanted = cx.wanted_claims()?;
    let mut compiler = Compiler {
        cx,
        plugin: cx.row.id.to_string(),
        wanted: &wanted,
        roles: Vocabulary::default(),
        scopes: Vocabulary::default(),
        list: Vec::new(),
        paths: Index::default(),
        methods: Methods::default(),
    };
    compiler.public_paths(&config.public_paths)?;
    for (number, rule) in config.rules.iter().enumerate() {
        compiler.rule(number, rule)?;
    }
    compiler.permissions(config)?;
    let effect = match config.default.as_str() {
        "allow" => Default::Allow,
        "authenticated" => Default::Authenticated,
        _ => Default::Deny,
    };
    let otherwise = Otherwise { effect, name: compiler.name(DEFAULT, &[]) };
    let sources = Sources::new(config, &wanted, cx)?;
    let Compiler { list, paths, methods, roles, scopes, .. } = compiler;
    Ok(Rules { list, paths, methods, otherwise, sources, roles, scopes })
}

impl Compiler<'_, '_> {
    fn public_paths(&mut self, paths: &[String]) -> Result<(), BuildError> {
        if paths.is_empty() {
            return Ok(());
        }
        let rule = Rule {
            effect: Effect::Allow,
            patterns: patterns("config.public_paths", paths)?.into(),
            roles: Box::default(),
            scopes: Box::default(),
            claims: Box::default(),
            condition: None,
            name: self.name(PUBLIC, &[]),
        };
        self.add(rule, None);
        Ok(())
    }

    fn rule(&mut self, number: usize, rule: &config::Rule) -> Result<(), BuildError> {
        let place = format!("config.rules[{number}]");
        let name = rule.name.clone().unwrap_or_else(|| format!("rules[{number}]"));
        let mut patterns = patterns(&format!("{place}.paths"), rule.paths.as_deref().unwrap_or_default())?;
        let parameters = name_parameters(&mut patterns);
        let condition = rule.when.as_ref().map(|text| {
            let mut names = Names {
                wanted: self.wanted,
                roles: &mut self.roles,
                scopes: &mut self.scopes,
                parameters: &parameters,
            };
            let condition = Condition::new(text, &mut names);
            condition.map_err(|message| BuildError::new(format!("{place}.when"), message))
        });
        let scopes = rule.scopes.as_deref().unwrap_or_default();
        let claims = rule.claims.iter().flatten().map(|(claim, values)| ClaimCondition {
            claim: ClaimPath::new(claim, self.wanted),
            values: values.iter().map(|value| value.as_str().into()).collect(),
        });
        let ready = Rule {
            effect: match rule.effect.as_str() {
                "deny" => Effect::Deny,
                "require" => Effect::Require,
                _ => Effect::Allow,
            },
            patterns: patterns.into(),
            condition: condition.transpose()?,
            claims: claims.collect(),
            roles: numbers(&mut self.roles, rule.roles.as_deref().unwrap_or_default()),
            scopes: numbers(&mut self.scopes, scopes),
            name: self.name(&name, scopes),
        };
        let methods = rule.methods.as_ref();
        let methods: Option<Vec<Method>> =
            methods.map(|methods| methods.iter().filter_map(|name| method(name)).collect());
        self.add(ready, methods.as_deref());
        Ok(())
    }

    /// Permissions, those that say most first.
    fn permissions(&mut self, config: &Config) -> Result<(), BuildError> {
        let mut permissions = Vec::new();
        for (key, roles) in config.permissions.iter().flatten() {
            let field = format!("config.permissions.{key}");
            let (pattern, methods) = permission(key).map_err(|message| BuildError::new(field, message))?;
            permissions.push((pattern, methods, key, roles));
        }
        permissions.sort_by_cached_key(|(pattern, methods, key, _)| {
            (pattern.specificity(), methods.is_empty(), *key)
        });
        for (pattern, methods, key, roles) in permissions {
            let rule = Rule {
                effect: Effect::Permit,
                patterns: Box::new([pattern]),
                roles: numbers(&mut self.roles, roles),
                scopes: Box::default(),
                claims: Box::default(),
                condition: None,
                name: self.name(key, &[]),
            };
            self.add(rule, (!methods.is_empty()).then_some(&methods));
        }
        Ok(())
    }

    fn add(&mut self, rule: Rule, methods: Option<&[Method]>) {
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        match rule.patterns.is_empty() {
            true => self.paths.add(&Pattern::any(), number),
            false => rule.patterns.iter().for_each(|pattern| self.paths.add(pattern, number)),
        }
        self.methods.add(methods, number);
        self.list.push(rule);
    }

    fn name(&self, name: &str, scopes: &[String]) -> Name {
        let figure = |decision| self.cx.services.figures.of(&DECISIONS, &[&self.plugin, name, decision]);
        let lacking = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" "));
        Name {
            allowed: format!("allow: {name}").into(),
            denied: format!("deny: {name}").into(),
            lacking: (!scopes.is_empty()).then(|| lacking.into()),
            counts: Counts { allowed: figure("allowed"), denied: figure("denied"), failed: figure("failed") },
        }
    }
}

fn patterns(field: &str, paths: &[String]) -> Result<Vec<Pattern>, BuildError> {
    let parsed = paths.iter().enumerate().map(|(place, path)| {
        Pattern::parse(path).map_err(|message| BuildError::new(format!("{field}[{place}]"), message))
    });
    parsed.collect()
}

fn numbers(vocabulary: &mut Vocabulary, names: &[String]) -> Box<[u32]> {
    names.iter().map(|name| vocabulary.number(name)).collect()
}
