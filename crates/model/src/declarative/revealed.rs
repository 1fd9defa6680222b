//! What becomes of entities once the references in them have been looked up: the form in which they are kept, and that no two
//! of them are the same.

use ahash::AHashSet;
use serde_json::Value;

use super::collect::{Row, place};
use super::layout::Layout;
use super::secrets::{Resolved, mentions};
use crate::courtesy::worked;
use crate::entity::Form;
use crate::problem::{Problem, Problems, Step};

/// Finishes the rows that refer to secrets.
pub(super) fn finish(
    layout: &Layout<'_>,
    rows: &mut [Row],
    resolved: &mut Resolved,
    problems: &mut Problems,
) {
    let mut indices: Vec<usize> = resolved.rows.keys().copied().collect();
    indices.sort_unstable();
    for index in &indices {
        transform(layout, rows, *index, resolved, problems);
    }
    let collections: AHashSet<usize> = indices.iter().map(|index| rows[*index].collection()).collect();
    for collection in collections {
        distinct(layout, rows, collection, resolved, problems);
    }
}

/// Brings a row into the form that is kept; a reference stays what is shown. A secret is what people know, so it is taken for
/// that whatever form the document itself has.
fn transform(
    layout: &Layout<'_>,
    rows: &mut [Row],
    index: usize,
    resolved: &mut Resolved,
    problems: &mut Problems,
) {
    let blueprint = &layout.collections[rows[index].collection()].blueprint;
    let running = resolved.rows.get_mut(&index).and_then(Value::as_object_mut);
    let (Some(transform), Some(running)) = (blueprint.schema.transform, running) else { return };
    worked(3_000);
    if let Err((field, message)) = transform(running, Form::Written) {
        problems.push(problem(layout, rows, index, field, message));
        return;
    }
    let mut shown = blueprint.whole(rows[index].id.unwrap_or_default(), &rows[index].fields);
    for (name, value) in shown.iter_mut().filter(|(_, value)| !mentions(value)) {
        value.clone_from(&running[name]);
    }
    rows[index].fields = blueprint.pack(&shown);
}

/// Notes rows whose secret is another row's value, where no two may have the same. That the references differ is not enough.
fn distinct(
    layout: &Layout<'_>,
    rows: &[Row],
    collection: usize,
    resolved: &Resolved,
    problems: &mut Problems,
) {
    let schema = layout.collections[collection].schema();
    let unique = layout.collections[collection].keys.unique.iter();
    for field in unique.filter(|field| schema.record.fields[**field].element.referenceable) {
        let name = schema.record.fields[*field].name;
        let of_collection = || (0..rows.len()).filter(|index| rows[*index].collection() == collection);
        let written = of_collection().filter(|index| !resolved.rows.contains_key(index));
        let mut known: AHashSet<&str> = written.filter_map(|index| rows[index].fields.text(*field)).collect();
        for index in of_collection() {
            let Some(value) = resolved.rows.get(&index).and_then(|row| row[name].as_str()) else { continue };
            if !known.insert(value) {
                let message =
                    format!("uniqueness violation: another of '{}' has the same {name} already", schema.name);
                problems.push(problem(layout, rows, index, name, message));
            }
        }
    }
}

fn problem(layout: &Layout<'_>, rows: &[Row], index: usize, field: &str, message: String) -> Problem {
    let mut place = place(rows, index);
    place.0.push(Step::Field(field.to_owned()));
    Problem::new(place, layout.span_of(&rows[index], field), message)
}
