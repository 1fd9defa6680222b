//! Instructions per request, with what each thing adds to the bare proxy.

use super::table::Table;
use super::{Report, marked, whole};
use crate::statistics::median;

impl Report {
    pub(super) fn instructions(&self) -> Table {
        let mut table =
            Table::new(&["proxy", "instructions", "adds", "x first", "least", "most", "requests", "errors"]);
        let Some(first) = self.instructions.first().and_then(|first| median(&first.per_request)) else {
            return table;
        };
        for counted in &self.instructions {
            let Some(figure) = median(&counted.per_request) else { continue };
            let of = |pick: fn(f64, f64) -> f64| {
                counted.per_request.iter().copied().reduce(pick).map_or("-".to_owned(), whole)
            };
            table.row(&[
                counted.peer.label().to_owned(),
                whole(figure),
                format!("{:+.0}", figure - first),
                format!("{:.3}", figure / first),
                of(f64::min),
                of(f64::max),
                counted.requests.to_string(),
                marked(counted.errors, counted.first_error.as_deref()),
            ]);
        }
        table
    }
}
