//! `GET /usage`: rows as JSON, or as CSV for spreadsheets.

use plugin::admin::{Answer, Call, Endpoint};
use serde_json::{Value, json};

use super::book::Book;
use super::query::{Column, Form, Named, Page, Query, Row, Trouble};
use super::store::{Store, Storing};
use super::{BOOK, NO_DATABASE};

/// The endpoints.
pub const ENDPOINTS: &[Endpoint] =
    &[Endpoint { method: "GET", path: "/usage", on_status_listener: false, handle: show }];

/// Figures in CSV, in order; thousandths are written as decimals.
const SUMS: [&str; 6] = ["requests", "errors", "server_errors", "request_bytes", "response_bytes", "cost"];

fn show(call: &Call<'_>) -> Answer {
    let refused = |status, message: &str| Answer::json(status, &json!({ "message": message }));
    let query = match Query::parse(call.query.unwrap_or_default()) {
        Ok(query) => query,
        Err(message) => return refused(400, &message),
    };
    match read(call, &query) {
        Ok(page) if query.form == Form::Csv => csv_answer(&query, &page),
        Ok(page) => json_answer(&query, &page),
        Err(Some(Trouble::Question(message))) => refused(400, &message),
        Err(Some(Trouble::Database(message))) => {
            refused(503, &format!("the database of usage does not answer: {message}"))
        }
        Err(None) => refused(404, NO_DATABASE),
    }
}

/// Reads from the book that is kept now, or from the one that was kept before.
fn read(call: &Call<'_>, query: &Query) -> Result<Page, Option<Trouble>> {
    let page = match (call.services.kept::<Book>(BOOK), call.services.usage()) {
        (Some(book), _) => book.read(|connection| Ok(query.run(connection))),
        (None, Some(settings)) => {
            let mut store = Store::new(&settings.database, None);
            store.connection().map(|connection| query.run(connection))
        }
        (None, None) => return Err(None),
    };
    page.map_err(Trouble::Database).and_then(|page| page).map_err(Some)
}

fn json_answer(query: &Query, page: &Page) -> Answer {
    let rows: Vec<Value> = page.rows.iter().map(|row| json_row(query, row)).collect();
    let next = page.next.as_deref().map(|offset| query.path(offset));
    Answer::json(200, &json!({ "data": rows, "next": next }))
}

fn json_row(query: &Query, row: &Row) -> Value {
    let named = |named: &Named| match (named.id.as_str(), named.name.as_str()) {
        ("", _) => Value::Null,
        (id, "") => json!({ "id": id }),
        (id, name) => json!({ "id": id, "name": name }),
    };
    let mut object = serde_json::Map::new();
    for column in &query.by {
        let value = match column {
            Column::Day => json!(row.day),
            Column::Consumer => named(&row.consumer),
            Column::Route => named(&row.route),
        };
        object.insert(column.name().to_owned(), value);
    }
    for (name, sum) in SUMS.iter().zip(sums(row)) {
        object.insert((*name).to_owned(), json!(sum));
    }
    object.insert("cost".to_owned(), json!(row.cost_thousandths as f64 / 1000.0));
    Value::Object(object)
}

fn sums(row: &Row) -> [i64; 6] {
    let cost = row.cost_thousandths;
    [row.requests, row.errors, row.server_errors, row.request_bytes, row.response_bytes, cost]
}

fn csv_answer(query: &Query, page: &Page) -> Answer {
    let next = page.next.as_deref().map(|offset| query.path(offset));
    let headers = next.map(|path| ("Link", format!("<{path}>; rel=\"next\""))).into_iter().collect();
    let body = csv(query, page).into_bytes();
    Answer { status: 200, content_type: "text/csv; charset=utf-8; header=present", body, headers }
}

/// The page as RFC 4180 has it: lines end with CR LF, and a field is quoted where it has to be.
fn csv(query: &Query, page: &Page) -> String {
    let of_column = |column: &Column| match column {
        Column::Day => vec!["day"],
        Column::Consumer => vec!["consumer_id", "consumer"],
        Column::Route => vec!["route_id", "route"],
    };
    let head = query.by.iter().flat_map(of_column).chain(SUMS).map(str::to_owned).collect();
    let mut text = String::new();
    for fields in std::iter::once(head).chain(page.rows.iter().map(|row| csv_row(query, row))) {
        let fields: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

fn csv_row(query: &Query, row: &Row) -> Vec<String> {
    let mut fields = Vec::new();
    for column in &query.by {
        match column {
            Column::Day => fields.push(row.day.clone()),
            Column::Consumer => fields.extend([row.consumer.id.clone(), row.consumer.name.clone()]),
            Column::Route => fields.extend([row.route.id.clone(), row.route.name.clone()]),
        }
    }
    let [whole @ .., cost] = sums(row);
    fields.extend(whole.iter().map(i64::to_string));
    fields.push(format!("{}.{:03}", cost / 1000, cost % 1000));
    fields
}

/// A field. What a spreadsheet would take for a formula gets an apostrophe in front, which it takes for "text".
fn csv_field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}
