package netio

// Seen are answers to probes: how many reached the link of this host, and how many a socket got.
type Seen struct{ Link, Socket int }

// Eaten reports whether answers reach this host and its own packet filter, or its reverse path
// filter, drops all of them.
func (s Seen) Eaten() bool { return s.Link >= leastEaten && s.Socket == 0 }

// leastEaten is more than a full socket buffer loses by chance.
const leastEaten = 3

// Overheard are the answers to the probes to one destination during some time.
type Overheard struct{ ICMP, UDP Seen }

// A Queue counts what happens to packets in the queue of one interface of this host. All counters
// only grow.
type Queue struct {
	// Probes were taken by it, as far as is known, and Refused were dropped by it at once.
	Probes, Refused uint64
	// Sent and Dropped are the packets of all programs (tc(8), "Sent" and "dropped").
	Sent, Dropped uint64
}
