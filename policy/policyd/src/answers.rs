//! What a node is answered: each answer that would make it act asks first whether it may.

use std::collections::BTreeSet;
use std::sync::Arc;

use lacre_policy::{Policy, resolve};
use lacre_proto::policy::{Answer, RegisterResponse};
use lacre_report::Record;
use lacre_types::{Action, Mode, ViolationKind};

use crate::orders::{Leave, Reply, What, answered_mark};
use crate::policy::PolicyFile;
use crate::registered::{Known, TAMPERED};
use crate::reloaded_file::Loaded;
use crate::server::Server;

/// Who is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers<'a> {
    pub(crate) server: &'a Server,
    pub(crate) principal: &'a str,
}

/// The policy by which a container is answered.
enum Chosen {
    /// The one in force.
    Now(Arc<Loaded<PolicyFile>>),
    /// The one that it has: the one in force is not for it yet. `None`: this server never had
    /// that.
    Before(Option<Arc<Policy>>),
}

/// Whether a node would do something about it. DENY is done where the code was, or not at all.
const fn acts(action: Action) -> bool {
    !matches!(action, Action::Skip | Action::Deny)
}

/// What a policy does about altered logs.
struct OfTampered {
    action: Action,
    rule: String,
}

fn of_tampered(policy: &Policy, known: &Known) -> OfTampered {
    let kind = ViolationKind::LogTampered;
    let decision = known.with_subject(|subject| policy.decide(subject, kind, None));
    let action = resolve(&decision, false, Mode::Enforce).action;
    OfTampered { action, rule: decision.rule.to_string() }
}

/// Whether a node would do something about it that it does not do by itself.
fn overrules(action: Action) -> bool {
    action != Action::Skip
}

impl Answers<'_> {
    /// The version that this node is told: another when what is thought of it changes, or an
    /// order about it is held or approved, so that it asks again what is to be done.
    pub(crate) fn version(&self, policy: &str) -> String {
        let mut version = policy.to_owned();
        if let Some(since) = self.tampered() {
            let now = self.server.policy.get();
            let untold = self.server.registry.those(Some(self.principal), |known| {
                known.told != Some(since) && overrules(of_tampered(&now.policy, known).action)
            });
            if self.may_tell(since, untold) {
                version += &format!("+{TAMPERED}{since}");
            }
        }
        version + &self.server.gate.mark(self.principal)
    }

    /// Since when this node is known to show what is not the truth.
    fn tampered(&self) -> Option<u64> {
        self.server.attest.as_ref()?.tampered(self.principal)
    }

    fn may_tell(&self, since: u64, targets: BTreeSet<crate::orders::Target>) -> bool {
        let what = What::Tampered { principal: self.principal.to_owned(), since };
        self.server.gate.may(&what, targets, self.server.node_count()) == Leave::Go
    }

    fn choose(&self, known: &Known) -> Chosen {
        let (now, gate) = (self.server.policy.get(), &self.server.gate);
        if known.is_tightened_by(&now.policy, &now.version, |version| gate.policy(version)) {
            let what = What::policy(now.version.clone());
            let targets = BTreeSet::from([known.target(self.principal)]);
            if gate.may(&what, targets, self.server.node_count()) != Leave::Go {
                let had = known.holds.as_deref().and_then(|version| gate.policy(version));
                return Chosen::Before(had);
            }
        }
        Chosen::Now(now)
    }

    /// Answers a registration, and notes what the container has from then on.
    pub(crate) fn to_registration(self, known: &mut Known, version: &str) -> RegisterResponse {
        let chosen = self.choose(known);
        let effective = match &chosen {
            Chosen::Now(now) => {
                known.holds = Some(now.version.clone());
                known.effective(&now.policy).to_json()
            }
            // What it has stays; who has it from elsewhere keeps that.
            Chosen::Before(Some(had)) => known.effective(had).to_json(),
            Chosen::Before(None) => Vec::new(),
        };
        let mut told = known.holds.clone().unwrap_or_default();
        let tampered = self.tampered().and_then(|since| {
            let answer = self.to_tampered(&chosen, known, since);
            // What nothing is done about touches nobody.
            let untold = (known.told != Some(since)).then(|| known.target(self.principal));
            let may = !answer.overrules || self.may_tell(since, untold.into_iter().collect());
            may.then_some(answer)
        });
        if let Some(answer) = &tampered {
            known.told = Some(answer.tampered_since);
            told += &format!("+{TAMPERED}{}", answer.tampered_since);
        }
        let target = known.target(self.principal);
        let mut answer = tampered;
        if let Some((order, reply)) = self.server.gate.reply(&target, &known.life, version) {
            told += &answered_mark(order);
            let answer = answer.get_or_insert_with(Answer::default);
            answer.container_id.clone_from(&known.container.id);
            (answer.number, answer.action) = (reply.number, reply.action.to_string());
            (answer.rule, answer.overrules) = (reply.rule, true);
        }
        let mut held = self.server.gate.held(&target);
        for order in held.iter_mut().filter(|order| order.why.starts_with("LOG_TAMPERED")) {
            order.action = self.to_tampered(&chosen, known, 0).action;
        }
        RegisterResponse {
            effective,
            version: told,
            answer: answer.into(),
            held,
            instance: self.server.instance.clone(),
            ..RegisterResponse::default()
        }
    }

    /// What is to be done with a container because its node's log was tampered with.
    fn to_tampered(self, chosen: &Chosen, known: &Known, tampered_since: u64) -> Answer {
        let of = match chosen {
            Chosen::Now(now) => of_tampered(&now.policy, known),
            Chosen::Before(Some(had)) => of_tampered(had, known),
            Chosen::Before(None) => of_tampered(&self.server.policy.get().policy, known),
        };
        Answer {
            container_id: known.container.id.clone(),
            action: of.action.to_string(),
            overrules: overrules(of.action),
            rule: of.rule,
            tampered_since,
            ..Answer::default()
        }
    }

    /// Answers a report of a violation, by the policy that is the container's now.
    pub(crate) fn to_report(self, known: &Known, number: u64, record: &Record) -> Answer {
        let path = record.canonical_path();
        let chosen = self.choose(known);
        let decide = |policy: &Policy| {
            known.with_subject(|subject| policy.decide(subject, record.notificate, path.as_ref()))
        };
        let decision = match &chosen {
            Chosen::Now(now) => decide(&now.policy),
            Chosen::Before(Some(had)) => decide(had),
            // What nobody here knows is not overruled.
            Chosen::Before(None) => {
                return Answer {
                    number,
                    container_id: record.container_id.clone(),
                    action: record.action.to_string(),
                    ..Answer::default()
                };
            }
        };
        // DENY comes true as its fallback where the source could not deny.
        let same = record.action == decision.action
            || (decision.action == Action::Deny && Some(record.action) == decision.fallback);
        let overrules = !same && record.mode == Mode::Enforce;
        let (mut answer, rule) = (Answer::default(), decision.rule.to_string());
        (answer.number, answer.overrules) = (number, overrules);
        answer.container_id.clone_from(&record.container_id);
        answer.action = decision.action.to_string();
        answer.rule.clone_from(&rule);
        if overrules && acts(decision.action) {
            let (target, action) = (known.target(self.principal), decision.action);
            let reply = Reply { target, life: known.life.clone(), action, number, rule };
            match self.server.gate.may_reply(reply, self.server.node_count()) {
                Leave::Go => {}
                Leave::Held(order) => (answer.overrules, answer.held) = (false, order),
                Leave::Wait => answer.overrules = false,
            }
        }
        answer
    }
}
