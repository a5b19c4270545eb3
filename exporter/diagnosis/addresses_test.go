package diagnosis

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestAddressSilent: only an address that was tried and is silent, beside one that answers.
func TestAddressSilent(t *testing.T) {
	one, two, three := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3")
	at := func(seconds int) time.Time { return time.Date(2026, 1, 2, 3, 4, seconds, 0, time.UTC) }
	other := func(a netip.Addr, s State, seconds int) Other {
		return Other{Address: a, State: s, At: at(seconds), Evidence: []string{"icmp: echo"}}
	}
	for name, tt := range map[string]struct {
		reach    [methods]reaction
		others   []Other
		lookedUp time.Time
		want     State
		summary  string
	}{
		"an address and no name":       {reach: [methods]reaction{answers, answers, answers}},
		"one address":                  {reach: [methods]reaction{answers, answers, answers}, lookedUp: at(1), want: Absent},
		"nothing is known of the peer": {others: []Other{other(two, Absent, 2)}, lookedUp: at(1)},
		"the other one is silent": {
			reach: [methods]reaction{answers, answers, answers}, others: []Other{other(two, Absent, 2)}, lookedUp: at(1), want: Holds,
			summary: "2001:db8::2 does not answer; 203.0.113.1 does (measured).",
		},
		"two are silent": {
			reach: [methods]reaction{answers, answers, answers}, others: []Other{other(two, Absent, 2), other(three, Absent, 3)}, lookedUp: at(1), want: Holds,
			summary: "2001:db8::2, 2001:db8::3 do not answer; 203.0.113.1 does (measured).",
		},
		"IKE answers at the measured one, echo does not": {
			reach: [methods]reaction{silent, answers, answers}, others: []Other{other(two, Absent, 2)}, lookedUp: at(1), want: Holds,
			summary: "2001:db8::2 does not answer; 203.0.113.1 does (measured).",
		},
		"both answer": {
			reach: [methods]reaction{answers, answers, answers}, others: []Other{other(two, Holds, 2)}, lookedUp: at(1), want: Absent,
		},
		"both are silent": {
			reach: [methods]reaction{silent, silent, silent}, others: []Other{other(two, Absent, 2)}, lookedUp: at(1), want: Absent,
		},
		"the other one could not be tried": {
			reach: [methods]reaction{answers, answers, answers}, others: []Other{other(two, Undecided, 2)}, lookedUp: at(1),
		},
		"one could not be tried, one is silent": {
			reach: [methods]reaction{answers, answers, answers}, others: []Other{other(two, Undecided, 2), other(three, Absent, 2)}, lookedUp: at(1), want: Holds,
			summary: "2001:db8::3 does not answer; 203.0.113.1 does (measured).",
		},
	} {
		f := reaching(tt.reach)
		f.Address, f.Others, f.LookedUp = one, tt.others, tt.lookedUp
		for _, v := range Evaluate(f) {
			if v.Name != AddressSilent {
				continue
			}
			if v.State != tt.want || v.Summary != tt.summary {
				t.Errorf("%s: %s %q, want %s %q", name, v.State, v.Summary, tt.want, tt.summary)
			}
			if evidence := strings.Join(v.Evidence, "\n"); v.State == Holds &&
				(!strings.Contains(evidence, "2001:db8::") || !strings.Contains(evidence, "203.0.113.1: ike: UDP 500 answers")) {
				t.Errorf("%s: evidence\n%s", name, evidence)
			}
		}
	}
}
