//! Looks up what `{vault://...}` references mean. What is kept to be shown has the references; what runs has the secrets.

use ahash::{AHashMap, AHashSet};
use serde_json::Value;

use super::collect::{Row, place};
use super::layout::Layout;
use crate::courtesy::offering;
use crate::problem::{Problem, Problems, Step};
use crate::schema::{Element, Faults, Fields, Kind, RecordSchema};
use crate::secret::{
    Found, KINDS, Secret, SecretReference, Vaults, Wanted, is_reference, meaning, without_secrets,
};

/// Secrets that were found, and what they make of the rows that refer to them.
#[derive(Default)]
pub(super) struct Resolved {
    pub rows: AHashMap<usize, Value>,
    pub found: Vec<Found>,
}

/// Different references that one configuration may hold: each is a look-up.
const MOST: usize = 10_000;

/// Looks up every reference in `rows`.
pub(super) fn resolve(
    layout: &Layout<'_>,
    rows: &[Row],
    vaults: &dyn Vaults,
    problems: &mut Problems,
) -> Resolved {
    let mut search = Search {
        layout,
        vaults,
        entities: AHashMap::new(),
        texts: AHashMap::new(),
        known: AHashMap::new(),
        resolved: Resolved::default(),
    };
    let vaults = layout.collection("vaults");
    let is_vault = |index: &usize| Some(rows[*index].collection()) == vaults;
    for index in (0..rows.len()).filter(is_vault) {
        search.vault(&whole(layout, &rows[index]));
    }
    // What a vault needs itself is looked up before anything in it.
    let referring = (0..rows.len()).filter(|index| rows[*index].refers);
    let (of_vaults, others): (Vec<_>, Vec<_>) = referring.partition(is_vault);
    for referring in [of_vaults, others] {
        let whole = referring.into_iter().map(|index| (index, whole(layout, &rows[index])));
        let referring: Vec<(usize, Value)> = offering(10_000, whole).collect();
        search.read(&referring);
        for (index, value) in offering(10_000, referring.into_iter()) {
            search.row(rows, index, value, problems);
        }
    }
    search.resolved
}

/// An entity with all its fields.
fn whole(layout: &Layout<'_>, row: &Row) -> Value {
    let blueprint = &layout.collections[row.collection()].blueprint;
    Value::Object(blueprint.whole(row.id.unwrap_or_default(), &row.fields))
}

/// Whether there is a reference anywhere in a value.
pub(super) fn mentions(value: &Value) -> bool {
    match value {
        Value::String(text) => is_reference(text),
        Value::Array(elements) => elements.iter().any(mentions),
        Value::Object(fields) => fields.values().any(mentions),
        _ => false,
    }
}

/// Adds the references in a value to `found`.
fn collect<'a>(value: &'a Value, found: &mut AHashSet<&'a str>) {
    match value {
        Value::String(text) if is_reference(text) => _ = found.insert(text),
        Value::Array(elements) => elements.iter().for_each(|value| collect(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// A vault that is an entity.
#[derive(Clone)]
struct Known {
    kind: &'static str,
    /// None where they refer to secrets that have not been looked up, or are not there.
    config: Option<Value>,
}

struct Search<'a> {
    layout: &'a Layout<'a>,
    vaults: &'a dyn Vaults,
    /// Vaults that are entities, by prefix.
    entities: AHashMap<String, Known>,
    /// What has been read, by reference, and how.
    texts: AHashMap<String, Result<(SecretReference, Wanted, Secret), String>>,
    /// Where in `found` a reference is, or why it is not there: each is looked up once.
    known: AHashMap<String, Result<usize, String>>,
    resolved: Resolved,
}

/// Where in a row one is, and what is wrong with it.
#[derive(Default)]
struct Inspection {
    path: Vec<Step>,
    wrongs: Vec<(Vec<Step>, String)>,
}

impl Inspection {
    fn add(&mut self, message: String) {
        self.wrongs.push((self.path.clone(), message));
    }
}

impl Search<'_> {
    /// Takes a vault in, if it is one: what else is wrong with it is told elsewhere.
    fn vault(&mut self, value: &Value) {
        let kind = KINDS.into_iter().find(|kind| value["name"] == *kind);
        if let (Some(prefix), Some(kind)) = (value["prefix"].as_str(), kind) {
            let config = Some(value["config"].clone()).filter(|config| !mentions(config));
            self.entities.insert(prefix.to_owned(), Known { kind, config });
        }
    }

    /// Reads what the references in `rows` name, all at once.
    fn read(&mut self, rows: &[(usize, Value)]) {
        let mut references = AHashSet::new();
        rows.iter().for_each(|(_, value)| collect(value, &mut references));
        references.retain(|one| !self.known.contains_key(*one) && !self.texts.contains_key(*one));
        let left = MOST.saturating_sub(self.texts.len() + self.known.len());
        let mut asked = Vec::new();
        for reference in references.into_iter().take(left) {
            let reference = reference.to_owned();
            let parsed = SecretReference::parse(&reference);
            match parsed.and_then(|parsed| self.wanted(&parsed).map(|wanted| (parsed, wanted))) {
                Ok((parsed, wanted)) => asked.push((reference, parsed, wanted)),
                Err(reason) => _ = self.texts.insert(reference, Err(reason)),
            }
        }
        // In an order that is the same each time.
        asked.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        let texts = self.vaults.read(&asked.iter().map(|(.., wanted)| wanted).collect::<Vec<_>>());
        for ((reference, parsed, wanted), text) in asked.into_iter().zip(texts) {
            self.texts.insert(reference, text.map(|text| (parsed, wanted, text)));
        }
    }

    /// Looks up everything that a row refers to, and checks what the row is with it.
    fn row(&mut self, rows: &[Row], index: usize, mut value: Value, problems: &mut Problems) {
        let row = &rows[index];
        if !mentions(&value) {
            return;
        }
        let schema = self.layout.collections[row.collection()].schema();
        let plugin = value["name"].as_str().filter(|_| schema.name == "plugins");
        let plugin = plugin.and_then(|name| self.layout.plugin(name));
        let mut inspection = Inspection::default();
        if let Some(plugin) = plugin {
            let mut config = value["config"].take();
            self.record(&schema.record, &mut value, &mut inspection);
            inspection.path.push(Step::Field("config".to_owned()));
            self.record(&plugin.config, &mut config, &mut inspection);
            value["config"] = config;
        } else {
            self.record(&schema.record, &mut value, &mut inspection);
        }
        for (steps, message) in inspection.wrongs {
            let span = match steps.first() {
                Some(Step::Field(field)) => self.layout.span_of(row, field),
                _ => row.span,
            };
            let mut place = place(rows, index);
            place.0.extend(steps);
            problems.push(Problem::new(place, span, message));
        }
        if schema.name == "vaults" {
            self.vault(&value);
        }
        self.resolved.rows.insert(index, value);
    }

    fn record(&mut self, record: &RecordSchema, value: &mut Value, inspection: &mut Inspection) {
        let before = inspection.wrongs.len();
        for field in &record.fields {
            if let Some(value) = value.get_mut(field.name).filter(|value| mentions(value)) {
                self.below(Step::Field(field.name.to_owned()), &field.element, value, inspection);
            }
        }
        if inspection.wrongs.len() > before {
            return;
        }
        let mut faults = Faults::default();
        let fields = Fields::of(value);
        record.checks.iter().for_each(|check| check.test(&fields, &mut faults));
        for (field, message) in faults.0 {
            let mut steps = inspection.path.clone();
            let names = field.iter().flat_map(|field| field.split('.'));
            steps.extend(names.map(|name| Step::Field(name.to_owned())));
            inspection.wrongs.push((steps, without_secrets(&self.resolved.found, message)));
        }
    }

    fn below(&mut self, step: Step, element: &Element, value: &mut Value, inspection: &mut Inspection) {
        inspection.path.push(step);
        self.element(element, value, inspection);
        inspection.path.pop();
    }

    fn element(&mut self, element: &Element, value: &mut Value, inspection: &mut Inspection) {
        match (&element.kind, value) {
            (_, value @ Value::String(_)) => {
                match self.meaning(element, value.as_str().unwrap_or_default()) {
                    Ok(secret) => *value = secret,
                    Err(message) => inspection.add(message),
                }
            }
            (Kind::Array(inner) | Kind::Set(inner), Value::Array(elements)) => {
                for (index, value) in elements.iter_mut().enumerate().filter(|(_, value)| mentions(value)) {
                    self.below(Step::Index(index), inner, value, inspection);
                }
            }
            (Kind::Map(_, inner), Value::Object(fields)) => {
                for (name, value) in fields.iter_mut().filter(|(_, value)| mentions(value)) {
                    self.below(Step::Field(name.clone()), inner, value, inspection);
                }
            }
            (Kind::Record(record), value) => self.record(record, value, inspection),
            _ => inspection.add(NO_REFERENCE.to_owned()),
        }
    }

    /// The value that a reference stands for.
    fn meaning(&mut self, element: &Element, reference: &str) -> Result<Value, String> {
        if !element.referenceable {
            return Err(NO_REFERENCE.to_owned());
        }
        let found = self.secret(reference)?;
        typed(element, &self.resolved.found[found])
            .ok_or_else(|| format!("what {reference} stands for is not a value that is allowed here"))
    }

    fn secret(&mut self, reference: &str) -> Result<usize, String> {
        if let Some(known) = self.known.get(reference) {
            return known.clone();
        }
        let found =
            self.look_up(reference).map_err(|reason| format!("{reference} stands for nothing: {reason}"));
        let found = found.map(|found| {
            self.resolved.found.push(found);
            self.resolved.found.len() - 1
        });
        self.known.insert(reference.to_owned(), found.clone());
        found
    }

    fn look_up(&mut self, reference: &str) -> Result<Found, String> {
        let read = self.texts.remove(reference);
        let read =
            read.ok_or_else(|| format!("a configuration may hold {MOST} different references to secrets"))?;
        let (SecretReference { key, .. }, wanted, text) = read?;
        let value = meaning(&wanted, key.as_deref(), text)?;
        Ok(Found { reference: reference.to_owned(), wanted, key, value })
    }

    /// Which vault is meant, with which settings.
    fn wanted(&self, reference: &SecretReference) -> Result<Wanted, String> {
        let vault = &reference.vault;
        let plain = || {
            let kind = KINDS.into_iter().find(|kind| kind == vault)?;
            Some(Known { kind, config: Some(self.vaults.usual(kind)) })
        };
        let known = self.entities.get(vault).cloned().or_else(plain).ok_or_else(|| {
            format!(
                "there is no vault '{vault}': it is neither {} nor the prefix of one of 'vaults'",
                KINDS.join(" nor ")
            )
        })?;
        let config = known.config.ok_or_else(|| {
            format!(
                "the settings of the vault '{vault}' refer to a secret that is not there; they may only name vaults whose settings hold no references"
            )
        })?;
        reference.wanted(known.kind, config)
    }
}
const NO_REFERENCE: &str = "this field takes no reference to a secret; write the value itself";

/// A secret as a value of the element's type, unless it breaks the element's rules. What they say of it is not told.
fn typed(element: &Element, found: &Found) -> Option<Value> {
    let text = Secret::reveal(&found.value);
    let value = match element.kind {
        Kind::Integer => Value::from(text.trim().parse::<i64>().ok()?),
        Kind::Number => Value::from(text.trim().parse::<f64>().ok()?),
        _ => Value::from(text),
    };
    element.accepts(&value).then_some(value)
}
