//! Consumer groups: consumers that share policies.

use crate::schema::Reference;

crate::entity! {
    /// Consumers that share policies.
    pub struct ConsumerGroup in "consumer_groups" {
        /// A unique name; other entities may refer to it.
        name: String, [unique(), utf8_name()];
    }
    endpoint_key: "name"
}

crate::entity! {
    /// That a consumer belongs to a group. Documents write it as `groups` of the consumer.
    pub struct ConsumerGroupConsumer in "consumer_group_consumers" {
        /// Who belongs.
        consumer: Reference, [to("consumers")];
        /// To what.
        consumer_group: Reference, [to("consumer_groups")];
    }
    cache_key: ["consumer_group", "consumer"]
}
