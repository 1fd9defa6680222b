//! What bounds the connections to the targets of an upstream.

crate::record! {
    /// Bounds on connections to each address of an upstream, over all workers.
    pub struct PoolLimits {
        /// Connections to an address at most; 0 is any number.
        max_connections: u32 = 0, [between(0, 1000000)];
        /// Requests that may wait for a connection to an address at most. One has to be possible: it is what makes other
        /// workers give up connections that they keep idle.
        queue_size: u32 = 100, [between(1, 100000)];
        /// Seconds each of them may wait; then it is answered 503.
        queue_timeout: f64 = 1, [between(0.001, 3600)];
        /// Idle connections to each address that are kept ready, each worker its share, rounded up. For HTTP/1.1.
        min_idle: u32 = 0, [between(0, 10000)];
        /// Seconds after which a connection that nobody uses is closed; unset is
        /// `KONG_UPSTREAM_KEEPALIVE_IDLE_TIMEOUT`.
        idle_timeout: Option<f64>, [between(0.1, 86400)];
        /// Seconds after which a connection serves no further request; unset is never.
        max_lifetime: Option<f64>, [between(0.1, 31536000)];
    }
}
