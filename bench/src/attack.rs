//! Attackers in a process of their own, each of whom makes the same attack again and again: those that the end-to-end tests
//! make once. It judges nothing: it counts how the gateway ended them.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use e2e::floods::{self, Attack, Victim};
use serde::{Deserialize, Serialize};

/// What is done to whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Where the gateway listens in clear.
    pub address: SocketAddr,
    /// Where it speaks TLS.
    pub secure: SocketAddr,
    /// The attack's place among all.
    pub attack: usize,
}

/// How often attacks ended, and how.
pub type Endings = BTreeMap<String, u64>;

/// Attackers that send as fast as they can: more of them would only take turns on their core.
const FLOODING: usize = 1;
/// Those that wait for most of the time. Some hold a hundred streams each.
const WAITING: usize = 8;
/// A gateway's bound on sending, where an attack waits for it, is well over by then.
const BOUND_IS_OVER: Duration = Duration::from_secs(2);

/// Runs a plan given as JSON: prints `ready`, waits for a line, attacks until there are no more, prints the endings as JSON.
pub fn run(plan: &str) -> io::Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    let attack = floods::all().get(plan.attack).ok_or_else(|| io::Error::other("no such attack"))?;
    let endings = Arc::new(Mutex::new(Endings::new()));
    println!("ready");
    let mut input = io::stdin().lock();
    input.read_line(&mut String::new())?;
    let attackers = if attack.variables.is_empty() { FLOODING } else { WAITING };
    for _ in 0..attackers {
        let (plan, endings) = (plan.clone(), Arc::clone(&endings));
        // They end with the process.
        thread::spawn(move || again_and_again(attack, &plan, &endings));
    }
    input.read_line(&mut String::new())?;
    println!("{}", serde_json::to_string(&*endings.lock().unwrap_or_else(PoisonError::into_inner))?);
    Ok(())
}

fn again_and_again(attack: &Attack, plan: &Plan, endings: &Mutex<Endings>) {
    let tells = |_: &str| {
        thread::park_timeout(BOUND_IS_OVER);
        true
    };
    let victim = Victim { address: plan.address, secure: plan.secure, tells: &tells };
    loop {
        let ending = (attack.run)(&victim).unwrap_or_else(|error| error);
        *endings.lock().unwrap_or_else(PoisonError::into_inner).entry(ending).or_default() += 1;
    }
}

/// Serves as the upstream that attacks count on until standard input closes.
pub fn serve() -> io::Result<()> {
    println!("{}", floods::upstream()?);
    io::stdin().lock().read_line(&mut String::new()).map(|_| ())
}
