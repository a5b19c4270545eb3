// Package diagnosis draws named conclusions from the newest results of one peer: what is wrong with
// the path to the peer, or with its SAs at a gateway, in one sentence, with the measurements that
// show it.
//
//	Facts --Evaluate--> Verdicts --Tracker--> what holds, since when; health; what flaps
//	(pure data)         (pure, by rules)      (two verdicts on, two off)
//	  ^                                                 |
//	  '---- Suspicion <-- Vantage <-- all peers' -------'
//
// rules.go has the table of all diagnoses. Each rule stands in the file of its subject, with how
// sure it is: reach, refusal, ports, mtu, fragments, protocols, lockout, gateways, vantage. A new
// diagnosis is a file with its name and its function, and a line of the table.
//
// Rules are statements joined by "and" and "or" in three-valued logic: a statement is true, false
// or unknown. What is unknown (not measured, a disabled collector, could not be measured, too old)
// decides nothing: it turns a diagnosis neither on nor off, unless what is known settles the matter
// alone. For example one answer clears peer_silent, also where the other methods are unknown.
//
// The package does not measure, log, or read a clock.
package diagnosis

import "slices"

// Severity is how much a diagnosis matters. Alerts on it have the same label.
type Severity string

// The severities.
const (
	// Critical means that no tunnel can be expected to work.
	Critical Severity = "critical"
	// Warning means that some tunnels or messages are affected.
	Warning Severity = "warning"
	// Info means a policy that is no fault by itself.
	Info Severity = "info"
)

// AtLeast reports whether the severity is that of least or worse.
func (s Severity) AtLeast(least Severity) bool {
	order := [...]Severity{Info, Warning, Critical}
	return slices.Index(order[:], s) >= slices.Index(order[:], least)
}

// A Diagnosis is a named conclusion about the path to one peer.
type Diagnosis struct {
	// Name is one of Names.
	Name     string   `json:"name"`
	Severity Severity `json:"severity"`
	// Gateway is the gateway whose SA table shows it, empty for a diagnosis of the path.
	Gateway string `json:"gateway,omitempty"`
	// Summary is one sentence.
	Summary string `json:"summary"`
	// Evidence are the measurements that show it, a line each.
	Evidence []string `json:"evidence"`
}
