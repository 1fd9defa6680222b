//! What the Admin API is asked for, and the rows it comes to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use plugin::query::decoded;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// Rows of a page, unless it is said.
const PAGE: usize = 1000;
/// Rows of a page at most.
pub const LARGEST_PAGE: usize = 10_000;

/// What rows are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Day,
    Consumer,
    Route,
}

impl Column {
    /// All, in the order in which rows are sorted by them.
    pub const ALL: [Self; 3] = [Self::Day, Self::Consumer, Self::Route];

    /// The name in arguments and in the database.
    pub fn name(self) -> &'static str {
        ["day", "consumer", "route"][self as usize]
    }
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    Json,
    Csv,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    consumer: Option<String>,
    route: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// What rows are told apart by, in the order of [`Column::ALL`].
    pub by: Vec<Column>,
    /// The form of the answer.
    pub form: Form,
    size: usize,
    /// What the last row of the page before was told by.
    after: Option<Vec<String>>,
}

/// A row: what it is told by, and its sums.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    pub day: String,
    pub consumer: Named,
    pub route: Named,
    pub requests: i64,
    pub errors: i64,
    pub server_errors: i64,
    pub request_bytes: i64,
    pub response_bytes: i64,
    pub cost_thousandths: i64,
}

/// An id and a name; both empty for nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    pub id: String,
    pub name: String,
}

/// A page of rows.
pub struct Page {
    pub rows: Vec<Row>,
    /// Where the next one begins, if there is one.
    pub next: Option<String>,
}

impl Query {
    /// Reads the query string.
    ///
    /// # Errors
    /// The argument that is wrong, and what may be written.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self {
            consumer: None,
            route: None,
            from: None,
            to: None,
            by: Column::ALL.to_vec(),
            form: Form::Json,
            size: PAGE,
            after: None,
        };
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |part: &str| String::from_utf8_lossy(&decoded(part.as_bytes())).into_owned();
            let (name, value) = (text(name), text(value));
            if seen.contains(&name) {
                return Err(format!("'{name}' is given twice"));
            }
            parsed.set(&name, value)?;
            seen.push(name);
        }
        if parsed.after.as_ref().is_some_and(|after| after.len() != parsed.by.len()) {
            return Err("offset: not that of a page with this group_by".to_owned());
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "consumer" => self.consumer = Some(value),
            "route" => self.route = Some(value),
            "from" => self.from = Some(value),
            "to" => self.to = Some(value),
            "group_by" => self.by = columns(&value)?,
            "format" => {
                self.form = match value.as_str() {
                    "json" => Form::Json,
                    "csv" => Form::Csv,
                    _ => return Err(format!("format: '{value}' is neither json nor csv")),
                }
            }
            "size" => {
                let size = value.parse().ok().filter(|size| (1..=LARGEST_PAGE).contains(size));
                self.size = size.ok_or(format!("size: '{value}' is no number from 1 to {LARGEST_PAGE}"))?;
            }
            "offset" => self.after = Some(read_offset(&value).ok_or("offset: not one of a page before")?),
            _ => {
                return Err(format!(
                    "unknown argument '{name}'; there are consumer, route, from, to, group_by, format, size and offset"
                ));
            }
        }
        Ok(())
    }

    /// The page.
    ///
    /// # Errors
    /// What is wrong with a day, or with the database.
    pub fn run(&self, connection: &Connection) -> Result<Page, Trouble> {
        for (name, day) in [("from", &self.from), ("to", &self.to)] {
            if let Some(day) = day
                && !is_day(connection, day)?
            {
                let message = format!("{name}: '{day}' is no day like 2026-01-31");
                return Err(Trouble::Question(message));
            }
        }
        let (text, values) = self.statement();
        let mut statement = connection.prepare(&text)?;
        let mut rows = statement
            .query_map(params_from_iter(values), |row| self.row(row))?
            .collect::<Result<Vec<Row>, _>>()?;
        let more = rows.len() > self.size;
        rows.truncate(self.size);
        let next = rows.last().filter(|_| more).map(|row| self.offset(row));
        Ok(Page { rows, next })
    }

    /// The statement with its values.
    fn statement(&self) -> (String, Vec<Value>) {
        let mut values = Vec::new();
        let conditions = self.conditions(&mut values).join(" AND ");
        let names = self.names();
        let (grouped, sorted) = match self.by.is_empty() {
            true => (" HAVING count(*) > 0".to_owned(), String::new()),
            false => (format!(" GROUP BY {names}"), format!(" ORDER BY {names}")),
        };
        // With max(), SQLite takes the other columns from the row that has it: names are those of the last day.
        let text = format!(
            "SELECT day, consumer, consumer_name, route, route_name, max(day), sum(requests), sum(errors), \
             sum(server_errors), sum(request_bytes), sum(response_bytes), sum(cost_thousandths) FROM usage \
             WHERE {conditions}{grouped}{sorted} LIMIT {}",
            self.size + 1
        );
        (text, values)
    }

    /// What rows have to fulfil, with its values: no argument becomes part of the text.
    fn conditions(&self, values: &mut Vec<Value>) -> Vec<String> {
        let mut bind = |text: &str| {
            values.push(Value::from(text.to_owned()));
            format!("?{}", values.len())
        };
        let mut conditions = vec!["1".to_owned()];
        for (column, wanted) in [("consumer", &self.consumer), ("route", &self.route)] {
            match wanted.as_deref() {
                None => {}
                // Who has no name has an id, so that only nobody is meant.
                Some("") => conditions.push(format!("{column} = ''")),
                Some(wanted) => {
                    let place = bind(wanted);
                    conditions.push(format!("({column} = {place} OR {column}_name = {place})"));
                }
            }
        }
        for (comparison, day) in [("day >=", &self.from), ("day <=", &self.to)] {
            if let Some(day) = day {
                conditions.push(format!("{comparison} {}", bind(day)));
            }
        }
        if let Some(after) = &self.after {
            let places = after.iter().map(|text| bind(text)).collect::<Vec<_>>().join(", ");
            conditions.push(format!("({}) > ({places})", self.names()));
        }
        conditions
    }

    /// The columns that rows are told apart by.
    fn names(&self) -> String {
        self.by.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ")
    }

    fn row(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        let mut found = Row {
            requests: row.get(6)?,
            errors: row.get(7)?,
            server_errors: row.get(8)?,
            request_bytes: row.get(9)?,
            response_bytes: row.get(10)?,
            cost_thousandths: row.get(11)?,
            ..Row::default()
        };
        for column in &self.by {
            match column {
                Column::Day => found.day = row.get(0)?,
                Column::Consumer => found.consumer = Named { id: row.get(1)?, name: row.get(2)? },
                Column::Route => found.route = Named { id: row.get(3)?, name: row.get(4)? },
            }
        }
        Ok(found)
    }

    fn offset(&self, row: &Row) -> String {
        let of = |column: &Column| match column {
            Column::Day => row.day.as_str(),
            Column::Consumer => &row.consumer.id,
            Column::Route => &row.route.id,
        };
        URL_SAFE_NO_PAD.encode(self.by.iter().map(of).collect::<Vec<_>>().join(","))
    }

    /// The path of the page that begins at `offset`.
    pub fn path(&self, offset: &str) -> String {
        let given =
            [("consumer", &self.consumer), ("route", &self.route), ("from", &self.from), ("to", &self.to)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let by = self.names();
        let (form, size) = (if self.form == Form::Csv { "csv" } else { "json" }, self.size.to_string());
        let rest = [("group_by", by.as_str()), ("format", form), ("size", &size), ("offset", offset)];
        let all = given.chain(rest).map(|(name, value)| format!("{name}={}", escaped(value)));
        format!("/usage?{}", all.collect::<Vec<_>>().join("&"))
    }
}

/// Why there is no page.
#[derive(Debug)]
pub enum Trouble {
    /// The question is wrong.
    Question(String),
    /// The database does not answer.
    Database(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

fn columns(list: &str) -> Result<Vec<Column>, String> {
    let named = |name: &&str| Column::ALL.iter().any(|column| column.name() == *name);
    let given: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(wrong) = given.iter().find(|name| !named(name)) {
        return Err(format!("group_by: '{wrong}' is none of day, consumer and route"));
    }
    Ok(Column::ALL.into_iter().filter(|column| given.contains(&column.name())).collect())
}

fn read_offset(text: &str) -> Option<Vec<String>> {
    let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    Some(plain.split(',').map(str::to_owned).collect())
}

/// Whether SQLite knows the day, in this spelling: others would be compared wrongly.
fn is_day(connection: &Connection, day: &str) -> Result<bool, Trouble> {
    Ok(connection.query_row("SELECT date(?1) IS ?1", [day], |row| row.get(0))?)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
