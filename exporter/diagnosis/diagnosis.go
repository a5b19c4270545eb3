// Package diagnosis draws named conclusions from the newest results of one peer: what is wrong with the path to it, or with
// its SAs at a gateway, in one sentence, with the numbers that show it.
//
//	Facts --Evaluate--> Verdicts --Tracker--> what holds, since when; is the peer healthy; what flaps
//	(pure data)         (pure, by rules)      (two verdicts on, two off)
//	  ^                                                 |
//	  '---- Suspicion <-- Vantage <-- all peers' -------'
//
// The rules stand in files by subject, each with how sure it is: reach, mtu, fragments, protocols, lockout, gateways, vantage.
//
// Rules are statements joined by "and" and "or" in three-valued logic: a statement is true, false or unknown. What is
// unknown (not measured, a disabled collector, could not be measured, too old) decides nothing: it neither turns a
// diagnosis on nor off, unless what is known settles the matter alone. For example one answer clears peer_silent,
// whatever is unknown about the other methods.
//
// Nothing here measures, logs, or looks at a clock.
package diagnosis

// The names of the diagnoses.
const (
	PeerSilent           = "peer_silent"
	ICMPBlocked          = "icmp_blocked"
	IKERefused           = "ike_refused"
	PMTUBlackHole        = "pmtu_black_hole"
	PMTUBlackHoleReverse = "pmtu_black_hole_reverse"
	TunnelOversized      = "tunnel_oversized"
	FragmentsDropped     = "fragments_dropped"
	UDP500Blocked        = "udp500_blocked"
	UDP4500Blocked       = "udp4500_blocked"
	ESPBlocked           = "esp_blocked"
	ESPOneWay            = "esp_one_way"
	AHBlocked            = "ah_blocked"
	NegotiationStuck     = "negotiation_stuck"
	ChildMissing         = "child_missing"
	NoSA                 = "no_sa"
	IKELockout           = "ike_lockout"
	VantageSuspect       = "vantage_suspect"
)

// Names returns the names of all diagnoses in the order in which they are shown.
func Names() []string {
	return []string{
		PeerSilent, ICMPBlocked, IKERefused, PMTUBlackHole, PMTUBlackHoleReverse, TunnelOversized, FragmentsDropped, UDP500Blocked, UDP4500Blocked,
		ESPBlocked, ESPOneWay, AHBlocked, NegotiationStuck, ChildMissing, NoSA, IKELockout, VantageSuspect,
	}
}

// A Diagnosis is a named conclusion about the path to one peer.
type Diagnosis struct {
	// Name is one of Names.
	Name string `json:"name"`
	// Gateway is the name of the gateway whose SA table shows it, empty for what is wrong with the path.
	Gateway string `json:"gateway,omitempty"`
	// Summary is one sentence.
	Summary string `json:"summary"`
	// Evidence are the measurements that show it, a line each.
	Evidence []string `json:"evidence"`
}
