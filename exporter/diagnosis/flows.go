package diagnosis

import (
	"fmt"
	"strings"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/collectors/pmtu"
)

// Diagnoses of flows: what is true of one source port or echo identifier need not be true of the
// path.
const (
	FlowStuck = "flow_stuck"
	FlowsLost = "flows_lost"
)

// compared is the comparison of the flows by a method, and whether the flow in use was silent in it
// and is silent since. Without a collector of flows, or by a method that it cannot compare, there
// is none.
func (f *Facts) compared(m collectors.Method) (r flows.Result, valid, possible bool) {
	if f.Flows == nil {
		return r, false, false
	}
	r = f.Flows.Of(m)
	valid = f.Flows.At.After(f.lastAnswer[m]) && !r.Own && r.State != flows.Unknown
	return r, valid, f.Flows.At.IsZero() || r.Tested > 0
}

// inEveryFlow is a claim that rests on the silence of a method in the flow in use: true only where
// fresh flows are silent too, unknown until they were compared.
func (f *Facts) inEveryFlow(m collectors.Method, c claim) claim {
	r, valid, possible := f.compared(m)
	switch {
	case c.state != Holds || !possible:
		return c
	case !valid:
		return claim{suspected: true}
	case r.Answered():
		return claim{state: Absent, at: f.Flows.At}
	}
	return c
}

// unanswered is the claim that requests of a method are not answered in any flow. A comparison that
// no flow answered shows that alone, before the next round of the method does: one request by each
// flow is as many as a round has.
func (f *Facts) unanswered(m collectors.Method) claim {
	own := f.inEveryFlow(m, f.silent(m))
	r, valid, _ := f.compared(m)
	if !valid || r.State != flows.Silent || r.Fixed || r.Tested < silenceRequests || own.state == Holds && own.at.After(f.Flows.At) {
		return own
	}
	return claim{state: Holds, at: f.Flows.At}
}

// stillAnswers is the claim that requests of a method are answered; unknown where no flow was
// answered since.
func (f *Facts) stillAnswers(m collectors.Method) claim {
	c := f.answers(m)
	if c.state == Holds && f.Flows != nil && f.Flows.At.After(c.at) && f.Flows.Of(m).State == flows.Silent {
		return claim{}
	}
	return c
}

// holeInEveryFlow is the claim that a method has a black hole, true only where large packets vanish
// in fresh flows too.
func (f *Facts) holeInEveryFlow(m collectors.Method, found *pmtu.Result, c claim) claim {
	_, _, possible := f.compared(m)
	if c.state != Holds || !possible {
		return c
	}
	r := f.Flows.Large(m)
	switch {
	case r.State == flows.Unknown || r.Bytes != found.Bytes+1:
		return claim{suspected: true}
	case r.Answered():
		return claim{state: Absent, at: f.Flows.At}
	}
	return c
}

// Uncompared reports whether a verdict waits for a comparison of flows that is newer than the
// silence, or than the black hole, which it rests on.
func (f *Facts) Uncompared() bool {
	for _, m := range collectors.Methods() {
		silent, found := f.silent(m), f.search(m)
		hole := foundHole(found)
		waits := silent.state == Holds && f.inEveryFlow(m, silent).state == Undecided && f.Flows.At.Before(silent.at) ||
			hole.state == Holds && f.holeInEveryFlow(m, found, hole).state == Undecided && f.Flows.At.Before(hole.at)
		if waits {
			return true
		}
	}
	return false
}

// flowStuck: only the flow in use is dead.
//
// How sure it is: the flow in use stays unanswered as often as the measured loss demands, while each
// fresh flow is answered, by every method of which that is known. The exporter then takes another
// flow, so the diagnosis lasts until the next comparison. A NAT or firewall with stale state looks
// the same as one dead link among many equal-cost ones that no fresh flow happens to use.
func (f *Facts) flowStuck() (claim, text) {
	return f.flowsAre(flows.Stuck), func() (string, []string) {
		return "Only the flow in use is dead: requests from fresh source ports or echo identifiers are answered. " +
			"A NAT or firewall on the path keeps stale state for it.", f.flowEvidence()
	}
}

// flowsLost: some flows are lost, and others pass.
//
// How sure it is: each lost flow stays unanswered as often as the measured loss of the others
// demands. Of large packets one answered by a fresh flow is enough, because the search has shown
// that they vanish in the flow in use.
func (f *Facts) flowsLost() (claim, text) {
	return f.flowsAre(flows.Split), func() (string, []string) {
		lost, tested, bytes := 0, 0, 0
		for _, r := range f.Flows.Results {
			switch {
			case r.State == flows.Split && r.Bytes > 0:
				bytes = r.Bytes - 1
			case r.Bytes == 0 && r.State != flows.Silent && r.State != flows.Unknown && r.Method != collectors.ICMP:
				lost, tested = lost+r.Lost, tested+r.Tested
			case r.Bytes == 0 && r.State == flows.Split:
				lost, tested = lost+r.Lost, tested+r.Tested
			}
		}
		if lost == 0 {
			return fmt.Sprintf("Packets above %d bytes vanish in some flows and pass in others: the source port decides.", bytes), f.flowEvidence()
		}
		return fmt.Sprintf("%d of %d flows to the peer are lost, the others pass: the source port decides.", lost, tested), f.flowEvidence()
	}
}

// flowsAre is the claim that the flows of all methods together are in state s.
func (f *Facts) flowsAre(s flows.State) claim {
	if f.Flows == nil {
		return claim{}
	}
	state := f.Flows.State()
	return when(state != flows.Unknown, state == s, f.Flows.At)
}

func (f *Facts) flowEvidence() (lines []string) {
	for _, r := range f.Flows.Results {
		what := strings.TrimSpace(fmt.Sprintf("%s %s", r.Method, withBytes(r.Bytes)))
		own := "the flow in use is answered"
		if !r.Own {
			own = "the flow in use is not"
		}
		switch r.State {
		case flows.Unknown:
		case flows.Even, flows.Stuck, flows.Split, flows.Silent:
			lines = append(lines, fmt.Sprintf("%s: %d of %d flows answered, %s", what, r.Tested-r.Lost, r.Tested, own))
		}
	}
	return lines
}

// withBytes names the size of packets, if it matters.
func withBytes(bytes int) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf("with %d bytes", bytes)
}
