//! What an outcome means.

use bottle_protocol::probe::{Attempt, ProbeOutcome, ProbeReport, TsiRequest};

use super::errno;
use super::plan::{Expected, Way};
use super::report::{Finding, Verdict};

/// Puts the attempts and their outcomes together. A report that leaves some out leaves them open.
pub(super) fn judge(ways: &[Way], report: &ProbeReport) -> Vec<Finding> {
    let rounds = [("root", &report.as_root), ("another user", &report.as_user)];
    rounds
        .into_iter()
        .flat_map(|(who, outcomes)| {
            ways.iter().enumerate().map(move |(index, way)| {
                let (verdict, result) = match outcomes.get(index) {
                    Some(outcome) => verdict(way, outcome),
                    None => (Verdict::Untried, "not reported".to_owned()),
                };
                Finding { what: way.what.clone(), who: Some(who), verdict, result }
            })
        })
        .collect()
}

fn verdict(way: &Way, outcome: &ProbeOutcome) -> (Verdict, String) {
    let works = way.expected == Expected::Works;
    let bad_if = |bad: bool| if bad { Verdict::Found } else { Verdict::Refused };
    match outcome {
        ProbeOutcome::Refused(errno::ECONNREFUSED) if works => {
            (Verdict::Works, "let through; nobody listens there".to_owned())
        }
        ProbeOutcome::Refused(number) if works => (Verdict::Broken, errno::name(*number)),
        ProbeOutcome::Reached(_) if works => (Verdict::Works, "connected".to_owned()),
        _ if works => (Verdict::Broken, "no answer".to_owned()),
        // The other end is ours, and was reached, though nobody took the call.
        ProbeOutcome::Refused(errno::ECONNREFUSED) if is_hosts_answer(way) => {
            (Verdict::Found, "ECONNREFUSED: the host has tried it".to_owned())
        }
        ProbeOutcome::Refused(number) => (Verdict::Refused, errno::name(*number)),
        ProbeOutcome::Silence => (Verdict::Refused, "no answer".to_owned()),
        ProbeOutcome::Sent => (Verdict::Refused, "sent, and gone nowhere".to_owned()),
        ProbeOutcome::Reached(_) => {
            let in_guest = way.expected == Expected::Unheard;
            let text = if in_guest { "answered in the guest" } else { "it worked" };
            (bad_if(!in_guest), text.to_owned())
        }
        ProbeOutcome::Nothing => (Verdict::Refused, nothing(&way.attempt).to_owned()),
        ProbeOutcome::Found(what) => (Verdict::Found, what.clone()),
        ProbeOutcome::Failed(why) => (Verdict::Untried, why.clone()),
    }
}

/// A connect that was made past the guest's kernel is answered by the host alone: that nobody listens there is not for the
/// guest to know.
fn is_hosts_answer(way: &Way) -> bool {
    matches!(way.attempt, Attempt::Tsi(TsiRequest::Connect(..) | TsiRequest::ConnectUnix { .. }))
}

fn nothing(attempt: &Attempt) -> &'static str {
    match attempt {
        Attempt::Listen(_) => "in the guest alone",
        Attempt::Open(_) => "the guest's own, for root",
        _ => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(request: TsiRequest, expected: Expected) -> Way {
        Way { what: "x".to_owned(), attempt: Attempt::Tsi(request), expected }
    }

    #[test]
    fn only_a_refusal_is_one() {
        let way = way(TsiRequest::Accept, Expected::Refused);
        let verdict = |outcome| verdict(&way, &outcome).0;
        assert_eq!(verdict(ProbeOutcome::Refused(13)), Verdict::Refused);
        assert_eq!(verdict(ProbeOutcome::Silence), Verdict::Refused);
        assert_eq!(verdict(ProbeOutcome::Reached(Vec::new())), Verdict::Found);
        assert_eq!(verdict(ProbeOutcome::Found("eth0".to_owned())), Verdict::Found);
        assert_eq!(verdict(ProbeOutcome::Failed("x".to_owned())), Verdict::Untried);
        let report = ProbeReport { as_root: vec![ProbeOutcome::Silence], as_user: Vec::new() };
        let verdicts: Vec<Verdict> =
            judge(std::slice::from_ref(&way), &report).iter().map(|one| one.verdict).collect();
        assert_eq!(verdicts, [Verdict::Refused, Verdict::Untried]);
    }

    #[test]
    fn a_port_that_the_host_tried_is_a_hole() {
        let to = "10.0.0.1:22".parse().unwrap();
        let request = TsiRequest::Connect(bottle_protocol::probe::TsiSocket::Stream, to);
        let refused = ProbeOutcome::Refused(errno::ECONNREFUSED);
        assert_eq!(verdict(&way(request.clone(), Expected::Refused), &refused).0, Verdict::Found);
        assert_eq!(verdict(&way(request.clone(), Expected::Works), &refused).0, Verdict::Works);
        assert_eq!(verdict(&way(request, Expected::Works), &ProbeOutcome::Refused(13)).0, Verdict::Broken);
    }
}
