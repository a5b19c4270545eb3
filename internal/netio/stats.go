package netio

import "time"

// Reasons for which a "packet too big" is rejected.
const (
	// RejectMalformed: it, or the packet that it quotes, cannot be read.
	RejectMalformed = "malformed"
	// RejectUnknownProbe: it quotes a packet to an address that we probe, but no probe under way.
	RejectUnknownProbe = "unknown_probe"
	// RejectToken: the quote reaches as far as the token, and that is not the probe's.
	RejectToken = "wrong_token"
	// RejectIPID: the quoted IPv4 identification is not the probe's.
	RejectIPID = "wrong_ip_id"
	// RejectSize: the quoted packet is not as long as the probe was.
	RejectSize = "wrong_size"
)

var rejectReasons = [...]string{RejectMalformed, RejectUnknownProbe, RejectToken, RejectIPID, RejectSize}

// RejectReasons returns all reasons for which netio rejects a "packet too big".
func RejectReasons() []string { return rejectReasons[:] }

// Stats counts what the sockets saw. All counters only grow.
type Stats struct {
	// Errors counts the ICMP errors that matched a probe, by icmp.ErrorName.
	Errors map[string]uint64
	// Rejected counts the packet-too-big messages that matched no probe, by reason.
	Rejected map[string]uint64
	// Drops counts, by socket, the answers lost because the socket's buffer was full, or because they
	// were too old when they were read.
	Drops map[string]uint64
	// Standstills counts how often the program, or this host, stood still, or the clock was set.
	Standstills uint64
	// QueueDrops counts the probes that a full queue of this host dropped.
	QueueDrops uint64
	// Stray counts UDP packets that came to our port and answered no probe.
	Stray uint64
	// Delayed is how long probes have waited for the packet budget, all together.
	Delayed time.Duration
	// UnderWay is the number of probes that are not forgotten yet.
	UnderWay int
}
