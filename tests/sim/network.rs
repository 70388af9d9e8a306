//! What travels, and between whom.

use debvisor_region::failover::{Control, Order, Refusal, Reply};
use debvisor_region::model::RegionId;
use debvisor_region::model::failover::Standings;

/// Who sends and who is sent to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Region(RegionId),
    Actor(usize),
}

/// What a region is asked.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Standings,
    Order(Box<Order>),
    Control(Box<Control>),
}

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Response {
    Standings(Box<Standings>),
    Order(Result<Reply, Refusal>),
    Control(Result<(), Refusal>),
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Request(Request),
    Response(Response),
}

/// Something under way, and the question that it is about.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) from: Node,
    pub(crate) to: Node,
    pub(crate) question: u64,
    pub(crate) body: Body,
}

impl Request {
    /// In few words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Standings => "to say what it knows".to_owned(),
            Self::Control(control) => match &**control {
                Control::TakeOver { authority } => format!("take-over with term {}", authority.term),
                Control::Register { was, now, gone, .. } => format!("register {was:?} -> {now:?}, gone {gone:?}"),
                Control::CutOff { region, cut_off, .. } => format!("cut {region} off by hand: {cut_off:?}"),
                Control::LetIn { region, .. } => format!("let {region} in"),
                Control::DeclaredGone { .. } => "know that it was declared gone".to_owned(),
                Control::Readmit { known, .. } => format!("readmit {known:?}"),
            },
            Self::Order(order) => {
                let (id, attempt) = order.attempt();
                let id = id.to_string();
                let words = match &**order {
                    Order::Accept { bid, .. } => format!("accept, to {} {}", bid.to, bid.direction.as_str()),
                    Order::Withdraw { resources, .. } => format!("withdraw {resources:?}"),
                    Order::Confirm { .. } => "confirm".to_owned(),
                    Order::Note { note, .. } => format!("note {note:?}"),
                    Order::Demote { resources, .. } => format!("demote {resources:?}"),
                    Order::Hold { resources, .. } => format!("hold {resources:?}"),
                    Order::Close { resources, .. } => format!("close {resources:?}"),
                };
                format!("{} {attempt}: {words}", &id[..4])
            }
        }
    }
}
