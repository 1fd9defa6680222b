//! Runs the plugins of a request, phase by phase, choosing each one's configuration as late as its scope demands.
//!
//! A chain is compiled at reload. A *slot* belongs to one plugin name and has the same number in every chain of a
//! snapshot, so that what a plugin remembers in `rewrite` (global chain) is still there in `access` (the route's).

use std::sync::Arc;

use ahash::AHashMap;
use plugin::exchange::{ABSENT, Exchange, Identity, UNDECIDED};
use plugin::views::{Access, BodyFilter, HeaderFilter, Log, Rewrite};
use plugin::{Flow, Phase, Phases};
use uuid::Uuid;

/// Every plugin instance of a snapshot; slots refer to them by index.
pub type Instances = [Arc<dyn Phases>];

/// The plugins that may run on a route, or on requests without one, in execution order.
#[derive(Default)]
pub struct Chain {
    slots: Vec<Slot>,
    by_phase: [Vec<u16>; Phase::OF_REQUESTS.len()],
}

/// One plugin in a chain: where its configuration comes from, most specific first (kong.md 1.9).
pub struct Slot {
    /// Number of the plugin, the same in every chain.
    pub number: u16,
    /// The sources of configuration, in order of precedence; a [`Tier::Fixed`] ends the list.
    pub tiers: Vec<Tier>,
}

/// One source of configuration; the value is an index into [`Instances`].
pub enum Tier {
    /// By the consumer who authenticated.
    Consumer(Arc<AHashMap<Uuid, u32>>),
    /// By a consumer group that it belongs to, or that whoever authenticated the caller vouches for.
    Group(Arc<OfGroups>),
    /// Whoever asks.
    Fixed(u32),
}

/// Configurations of consumer groups.
#[derive(Default, Clone)]
pub struct OfGroups {
    /// By the members.
    pub members: AHashMap<Uuid, u32>,
    /// By the groups.
    pub groups: AHashMap<Uuid, u32>,
}

impl OfGroups {
    /// The groups that are vouched for count before those of the consumer: they are what is known about this request.
    fn of(&self, identity: &Identity) -> Option<u32> {
        let vouched = identity.consumer_groups.iter().flat_map(|groups| groups.ids.iter());
        let found = vouched.filter_map(|group| self.groups.get(group)).next();
        found.or_else(|| self.members.get(&identity.consumer_id()?)).copied()
    }
}

impl Chain {
    /// A chain of `slots`, which are in execution order; `runs` tells the phases of a slot's number.
    pub fn new(slots: Vec<Slot>, runs: impl Fn(u16) -> &'static [Phase]) -> Self {
        let mut by_phase: [Vec<u16>; Phase::OF_REQUESTS.len()] = Default::default();
        for (index, slot) in slots.iter().enumerate() {
            let index = u16::try_from(index).expect("a chain has fewer slots than there are plugins");
            for phase in runs(slot.number) {
                if let Some(slots) = by_phase.get_mut(*phase as usize) {
                    slots.push(index);
                }
            }
        }
        Self { slots, by_phase }
    }

    /// Whether any plugin runs in `phase`.
    pub fn has(&self, phase: Phase) -> bool {
        !self.by_phase[phase as usize].is_empty()
    }

    fn of(&self, phase: Phase) -> impl Iterator<Item = &Slot> {
        self.by_phase[phase as usize].iter().map(|index| &self.slots[usize::from(*index)])
    }

    /// Runs `rewrite`.
    pub fn rewrite(&self, instances: &Instances, exchange: &mut Exchange) {
        for slot in self.of(Phase::Rewrite) {
            if let Some(room) = slot.room(instances, exchange) {
                room.rewrite(&mut Rewrite::new(exchange, slot.index()));
            }
        }
    }

    /// Runs `header_filter`.
    pub fn header_filter(&self, instances: &Instances, exchange: &mut Exchange) {
        for slot in self.of(Phase::HeaderFilter) {
            if let Some(room) = slot.room(instances, exchange) {
                room.header_filter(&mut HeaderFilter::new(exchange, slot.index()));
            }
        }
    }

    /// Runs `body_filter` on a piece of the body. A replacement is what the next plugin sees, and the result.
    pub fn body_filter(
        &self,
        instances: &Instances,
        exchange: &mut Exchange,
        piece: &[u8],
        last: bool,
    ) -> Option<Vec<u8>> {
        let mut replaced: Option<Vec<u8>> = None;
        for slot in self.of(Phase::BodyFilter) {
            if let Some(room) = slot.room(instances, exchange) {
                let now = replaced.as_deref().unwrap_or(piece);
                let mut view = BodyFilter::new(exchange, slot.index(), now, last);
                room.body_filter(&mut view);
                if let Some(replacement) = view.into_replacement() {
                    replaced = Some(replacement);
                }
            }
        }
        replaced
    }

    /// Runs `log`.
    pub fn log(&self, instances: &Instances, exchange: &mut Exchange) {
        for slot in self.of(Phase::Log) {
            if let Some(room) = slot.room(instances, exchange) {
                room.log(&Log::new(exchange, slot.index()));
            }
        }
    }

    /// The `access` of the plugin at `position` of the phase; none when there are no more.
    pub fn access_at<'s>(
        &'s self,
        position: usize,
        instances: &'s Instances,
        exchange: &mut Exchange,
    ) -> Option<Turn<'s>> {
        let slot = &self.slots[usize::from(*self.by_phase[Phase::Access as usize].get(position)?)];
        Some(Turn { room: slot.room(instances, exchange), slot: slot.index() })
    }

    /// Settles the configuration of every slot that has not been reached, with the consumer known now: after an
    /// answer, later plugins still see the response (kong.md 1.9).
    pub fn settle(&self, exchange: &mut Exchange) {
        for slot in &self.slots {
            slot.choose(exchange);
        }
    }
}

/// A plugin whose turn it is in `access`.
pub struct Turn<'s> {
    room: Option<&'s dyn Phases>,
    slot: usize,
}

impl Turn<'_> {
    /// Runs the plugin, if it applies to this request.
    pub fn run(&self, exchange: &mut Exchange) -> Flow {
        self.room.map_or(Flow::Next, |room| room.access(&mut Access::new(exchange, self.slot)))
    }

    /// The plugin's view, to go on with after a wait.
    pub fn view<'a>(&self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::new(exchange, self.slot)
    }
}

impl Slot {
    fn index(&self) -> usize {
        usize::from(self.number)
    }

    /// The instance chosen for this request; the choice is made once.
    #[inline]
    fn room<'s>(&self, instances: &'s Instances, exchange: &mut Exchange) -> Option<&'s dyn Phases> {
        let chosen = match exchange.chosen.get(self.index()).copied() {
            Some(UNDECIDED) | None => self.choose(exchange),
            Some(chosen) => chosen,
        };
        instances.get(chosen as usize).map(AsRef::as_ref)
    }

    fn choose(&self, exchange: &mut Exchange) -> u32 {
        let Some(place) = exchange.chosen.get(self.index()).copied() else { return ABSENT };
        if place != UNDECIDED {
            return place;
        }
        let identity = &exchange.identity;
        let found = self.tiers.iter().find_map(|tier| match tier {
            Tier::Fixed(instance) => Some(*instance),
            Tier::Consumer(by_consumer) => by_consumer.get(&identity.consumer_id()?).copied(),
            Tier::Group(of_groups) => of_groups.of(identity),
        });
        let chosen = found.unwrap_or(ABSENT);
        exchange.chosen[self.index()] = chosen;
        chosen
    }
}
