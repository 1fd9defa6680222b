//! Values that are not kept as they are written, such as passwords, of which only hashes are.

use super::collect::{Row, place};
use super::layout::Layout;
use super::prepare::Header;
use crate::courtesy::worked;
use crate::entity::Form;
use crate::problem::{Problem, Problems, Step};

/// Brings valid rows with resolved references, and without secrets, into the form they are kept in.
pub(super) fn transform(layout: &Layout<'_>, rows: &mut [Row], header: &Header, problems: &mut Problems) {
    let form = if header.transform { Form::Written } else { Form::Kept };
    for row in 0..rows.len() {
        // They get their secrets first: see `revealed`.
        if rows[row].refers {
            continue;
        }
        let blueprint = &layout.collections[rows[row].collection()].blueprint;
        let Some(transform) = blueprint.schema.transform else { continue };
        worked(3_000);
        let mut fields = blueprint.whole(rows[row].id.unwrap_or_default(), &rows[row].fields);
        match transform(&mut fields, form) {
            Ok(()) => rows[row].fields = blueprint.pack(&fields),
            Err((field, message)) => {
                let mut place = place(rows, row);
                place.0.push(Step::Field(field.to_owned()));
                problems.push(Problem::new(place, layout.span_of(&rows[row], field), message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::super::{Catalog, load};
    use crate::Reference;
    use crate::entity::{Entity, Form};

    crate::entity! {
        /// A password of a consumer.
        pub struct Password in "passwords" {
            /// Whose it is.
            consumer: Reference, [to("consumers")];
            /// The password.
            password: String;
        }
        transform: conceal
    }

    fn conceal(fields: &mut Map<String, Value>, form: Form) -> Result<(), (&'static str, String)> {
        let written = fields["password"].as_str().unwrap_or_default();
        match form {
            Form::Written => fields["password"] = json!(format!("{written} of {}", fields["consumer"]["id"])),
            Form::Kept if written.contains(" of ") => {}
            Form::Kept => return Err(("password", "is not in the kept form".to_owned())),
        }
        Ok(())
    }

    const ID: &str = "11111111-1111-4111-8111-111111111111";

    fn passwords(transform: bool, password: &str) -> Result<Value, String> {
        let text = format!(
            "_format_version: '3.0'\n_transform: {transform}\nconsumers:\n- id: {ID}\n  username: ada\n  passwords:\n  - password: {password}\n"
        );
        let catalog = Catalog { plugins: Vec::new(), entities: vec![Password::entity_schema()] };
        let config = load("kong.yml", &text, &catalog).map_err(|problems| {
            let problem = &problems[0];
            format!("{}:{} {}: {}", problem.span.line, problem.span.column, problem.place, problem.message)
        })?;
        Ok(config.entities("passwords")[0].set_fields()["password"].clone())
    }

    #[test]
    fn what_is_written_is_kept_in_another_form_and_what_is_kept_stays() {
        assert_eq!(passwords(true, "p"), Ok(json!(format!("p of \"{ID}\""))));
        assert_eq!(passwords(false, "p of x"), Ok(json!("p of x")));
        let wrong = passwords(false, "p").unwrap_err();
        assert_eq!(wrong, "7:15 consumers[0].passwords[0].password: is not in the kept form");
    }
}
