//! What a million callers and their counters take, by what is allocated for them.

use std::sync::Arc;

use plugin::figures::Figure;
use plugin::identity::{Caller, Credential};
use plugin::limits::{Demand, Measure, Refused, Table};
use plugin::model::entity::Consumer;
use plugin::model::schema::Record;
use plugin::roll::Roll;

const CALLERS: u32 = 1_000_000;

/// A limit of one.
const DEMAND: Demand = Demand { ordinal: 1, limit: 1, late: 0, measure: Measure::Fixed };

/// Asks for every caller against so many limits. How many were admitted.
fn ask_for_all(table: &Table, limits: usize) -> usize {
    let demands = vec![DEMAND; limits];
    let admitted = (0..CALLERS).filter(|caller| {
        let key = table.key(1, &caller.to_be_bytes());
        table.take(key, &demands, 1, Refused::Forgotten).admitted
    });
    admitted.count()
}

#[test]
fn a_million_callers_take_what_the_page_says_and_stay_limited() {
    for (limits, mebibytes) in [(1, 72), (6, 272)] {
        let displaced = Arc::new(Figure::default());
        let (counted, mut table, mut admitted) = (displaced.clone(), None, 0);
        let allocated = allocation_counter::measure(|| {
            let filling = Table::new(limits, counted);
            admitted = ask_for_all(&filling, limits);
            table = Some(filling);
        });
        let bound = mebibytes << 20;
        // Beside the counters: the locks of the shards, and while a shard grows what it has outgrown.
        let (kept, most) = (bound + (16 << 10), bound + (bound >> 6));
        assert!(allocated.bytes_current <= kept, "{limits} limits: {} bytes", allocated.bytes_current);
        assert!(allocated.bytes_max <= most as u64, "{limits} limits: {} bytes at most", allocated.bytes_max);
        assert_eq!(admitted, CALLERS as usize);
        // Where keys fall is chance: once in a while one of a million finds its places taken, and counts with another.
        assert!(displaced.value() <= 8, "{} shared a counter", displaced.value());
        assert_eq!(ask_for_all(&table.unwrap(), limits), 0, "every one of them is still limited");
    }
}

#[test]
fn a_caller_who_is_found_by_a_key_takes_six_lines_of_a_cache_and_half_of_one() {
    let fields = serde_json::json!({
        "id": uuid::Uuid::nil().to_string(), "created_at": 1, "updated_at": 1,
        "username": "user-0000000", "custom_id": "0000000",
    });
    let consumer = Arc::new(Consumer::from_value(&fields).unwrap());
    let caller = |number: u32| {
        let credential = Credential::of(uuid::Uuid::from_u128(u128::from(number)));
        Caller::known_by(format!("{number:032}").as_bytes(), u64::MAX, consumer.clone(), credential)
    };
    let mut roll = None;
    let allocated =
        allocation_counter::measure(|| roll = Some((0..CALLERS / 10).map(caller).collect::<Roll>()));
    let each = allocated.bytes_current / i64::from(CALLERS / 10);
    assert!(each <= 6 * 64 + 32, "{each} bytes");
    assert!(roll.unwrap().find(format!("{:032}", 17).as_bytes()).is_some());
}
