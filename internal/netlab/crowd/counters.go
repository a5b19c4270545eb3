package crowd

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// An Event is something that happens to packets and is counted.
type Event uint8

// The events. Requests are counted where they arrive at the peer, replies where they leave it.
const (
	Received Event = iota // packets from the exporter
	Sent                  // packets to the exporter
	EchoesAnswered
	IKERequests
	IKEReplies
	NATTRequests
	NATTReplies
	ICMPErrors
	Expired
	Vanished // in a black hole
	FragmentsDropped
	Lost // by simulated loss
	Silenced
	OtherUDP // to a port other than 500 and 4500
	Foreign  // malformed, or to no peer
	WriteErrors
	events
)

var eventNames = [events]string{
	"packets_received", "packets_sent", "echoes_answered", "ike_requests", "ike_replies", "natt_requests", "natt_replies",
	"icmp_errors", "ttl_expired", "vanished", "fragments_dropped", "lost", "silenced", "other_udp", "foreign", "write_errors",
}

// String returns the name of the event in Counters.
func (e Event) String() string { return eventNames[e] }

// The counts of one peer.
const (
	EchoRequests = iota // read from the device, before any loss
	EchoReplies         // sent
	EchoesLost          // by simulated loss
	peerCounts
)

func (w *World) count(e Event) { w.events[e].Add(1) }

func (p *peer) add(count int) { p.counts[count].Add(1) }

// Counters returns the number of events of each kind since the start.
func (w *World) Counters() map[string]uint64 {
	all := make(map[string]uint64, events)
	for e := range events {
		all[eventNames[e]] = w.events[e].Load()
	}
	return all
}

// Echoes are the echoes of one peer since the start. Fragmented ones are not among them.
type Echoes struct {
	Address  netip.Addr `json:"address"`
	Requests uint32     `json:"requests"`
	Replies  uint32     `json:"replies"`
	Lost     uint32     `json:"lost"`
}

// Echoes calls yield with the counts of each peer until it returns false.
func (w *World) Echoes(yield func(Echoes) bool) {
	for _, family := range w.peers {
		for i := range family {
			p := &family[i]
			e := Echoes{p.Address, p.counts[EchoRequests].Load(), p.counts[EchoReplies].Load(), p.counts[EchoesLost].Load()}
			if !yield(e) {
				return
			}
		}
	}
}

// Profiles calls yield with the profile of each peer until it returns false.
func (w *World) Profiles(yield func(Profile) bool) { w.config.Profiles(yield) }

const (
	// ResidenceBin is the resolution of Residence.
	ResidenceBin = 10 * time.Microsecond
	// residenceBins is the number of bins; the last one holds all longer times.
	residenceBins = 200_000
)

// residence counts how long replies took from the reading of the request to the writing of the reply.
type residence [residenceBins]atomic.Uint32

func (r *residence) add(d time.Duration) {
	r[min(max(int(d/ResidenceBin), 0), residenceBins-1)].Add(1)
}

// A ResidenceCount is the number of replies that took from Bin to Bin+1 times ResidenceBin.
type ResidenceCount struct {
	Bin   int    `json:"bin"`
	Count uint32 `json:"count"`
}

// counts returns the bins that are not empty.
func (r *residence) counts() []ResidenceCount {
	all := []ResidenceCount{}
	for i := range r {
		if n := r[i].Load(); n > 0 {
			all = append(all, ResidenceCount{i, n})
		}
	}
	return all
}

func (r *residence) reset() {
	for i := range r {
		r[i].Store(0)
	}
}
