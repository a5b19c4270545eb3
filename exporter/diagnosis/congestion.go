package diagnosis

import (
	"fmt"
	"math"
	"slices"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/icmp"
	"ipsec_path_exporter/internal/netio"
)

const (
	// congestionTime is how long the counters of a queue are compared over.
	congestionTime = 30 * time.Second
	// leastRefused is how many probes a full queue has to drop in that time, and congestedShare which
	// share of all of them: a trickle is no congestion.
	leastRefused, congestedShare = 3, 0.05
	// leastDropped is how many packets of all programs it has to drop, and affectedShare the share of
	// the peers that lost an echo meanwhile, where no probe is known to be among the dropped ones.
	leastDropped, affectedShare = 10, 0.1
)

// A Congestion is a full queue of this host.
type Congestion struct {
	// Measured is when the newest interval began in which it dropped packets.
	Measured time.Time
	Evidence string
	// Share is the largest share that it dropped between two readings, of the probes or of all packets.
	Share float64
}

// A CongestionMeter finds the queues of this host that drop what the exporter sends. The zero meter is
// ready. It compares counters that only grow.
//
// How sure it is: the kernel itself reports each probe that a queue does not take (ENOBUFS). A queue
// that drops packets later, as CoDel does, does not say whose they were; so its drops count only while
// a tenth of the peers behind it lose echoes, too. A peer that answered none for as long as the counters
// are compared is not among them: it filters echo, or is silent for itself.
type CongestionMeter struct {
	past []queueReading // the oldest first
	// answered is when each peer was last known to answer echoes.
	answered map[string]time.Time
}

type queueReading struct {
	at     time.Time
	queues map[string]netio.Queue
}

// Update takes the counters of all queues at a time, and the peers. It returns the congested queues by
// interface.
func (m *CongestionMeter) Update(now time.Time, queues map[string]netio.Queue, peers []Standing) map[string]Congestion {
	current := queueReading{now, queues}
	defer func() { m.past = append(m.past, current) }()
	for len(m.past) > 1 && now.Sub(m.past[1].at) >= congestionTime {
		m.past = slices.Delete(m.past, 0, 1)
	}
	m.note(now, peers)
	out := make(map[string]Congestion)
	for device, q := range queues {
		// What an interface counted before its first reading is as old as the interface.
		past := slices.DeleteFunc(slices.Clone(m.past), func(r queueReading) bool { _, ok := r.queues[device]; return !ok })
		if len(past) == 0 {
			continue
		}
		d := less(q, past[0].queues[device])
		var evidence string
		switch {
		case d.Refused >= leastRefused && refusedShare(d) >= congestedShare:
			evidence = fmt.Sprintf("%d of %d probes", d.Refused, d.Refused+d.Probes)
		case d.Dropped >= leastDropped && droppedShare(d) >= congestedShare && m.affected(now, device, droppedShare(d), peers):
			evidence = fmt.Sprintf("%d of %d packets", d.Dropped, d.Dropped+d.Sent)
		default:
			continue
		}
		if device != "" {
			evidence = "the queue of interface " + device + " of this host dropped " + evidence
		} else {
			evidence = "a queue of this host dropped " + evidence
		}
		newest, share := drops(device, append(past, current))
		out[device] = Congestion{Measured: newest, Share: share, Evidence: evidence + " since " + Clock(past[0].at)}
	}
	return out
}

// drops returns when the newest interval between readings began in which a queue dropped something, and
// the largest share that it dropped in one. A mean over a longer time is too small where the queue has
// only begun to fill.
func drops(device string, readings []queueReading) (newest time.Time, share float64) {
	newest = readings[0].at
	for i, r := range readings[1:] {
		d := less(r.queues[device], readings[i].queues[device])
		if d.Refused > 0 || d.Dropped > 0 {
			newest = readings[i].at
		}
		share = max(share, refusedShare(d), droppedShare(d))
	}
	return newest, share
}

func refusedShare(d netio.Queue) float64 { return part(d.Refused, d.Probes) }

func droppedShare(d netio.Queue) float64 { return part(d.Dropped, d.Sent) }

// part returns the share of lost packets among all.
func part(lost, passed uint64) float64 {
	if lost == 0 {
		return 0
	}
	return float64(lost) / float64(lost+passed)
}

// less returns what was counted since before. A queue that was replaced starts again at 0.
func less(q, before netio.Queue) netio.Queue {
	if q.Sent < before.Sent || q.Dropped < before.Dropped {
		before.Sent, before.Dropped = 0, 0
	}
	return netio.Queue{
		Probes: q.Probes - before.Probes, Refused: q.Refused - before.Refused, Sent: q.Sent - before.Sent, Dropped: q.Dropped - before.Dropped,
	}
}

// note remembers which peers answer echoes, and forgets those that are gone.
func (m *CongestionMeter) note(now time.Time, peers []Standing) {
	before := m.answered
	m.answered = make(map[string]time.Time, len(peers))
	for i := range peers {
		if p := &peers[i]; p.Echoes == icmp.Reachable {
			m.answered[p.Peer] = now
		} else if at, ok := before[p.Peer]; ok {
			m.answered[p.Peer] = at
		}
	}
}

// affected reports whether a tenth of the peers behind an interface lose echoes. A silent peer counts
// only as long as the dropped share explains its silence.
func (m *CongestionMeter) affected(now time.Time, device string, share float64, peers []Standing) bool {
	explains := math.Pow(share, silenceRequests) > mayBeLoss
	all, some := 0, 0
	for i := range peers {
		p := &peers[i]
		if p.Interface != device {
			continue
		}
		all++
		at, ok := m.answered[p.Peer]
		if p.Unanswered && (p.Echoes == icmp.Reachable || explains && ok && now.Sub(at) < congestionTime) {
			some++
		}
	}
	return some > 0 && float64(some) >= affectedShare*float64(all)
}

// rested are the methods on whose silence a diagnosis rests.
var rested = map[string][]collectors.Method{
	PeerSilent: collectors.Methods(), PeerRefuses: collectors.Methods(), NoRoute: collectors.Methods(),
	ICMPBlocked: {collectors.ICMP}, UDP500Blocked: {collectors.IKE}, UDP4500Blocked: {collectors.NATT},
}

// explainedByQueue reports whether what the queue of this host drops may be all that a diagnosis of the
// path rests on. Of silence the measured share tells; of anything else it is not known.
func (f *Facts) explainedByQueue(diagnosis string) bool {
	if !f.Vantage.Congested {
		return false
	}
	requests := 0
	for _, m := range rested[diagnosis] {
		requests += f.unansweredRequests(m)
	}
	return math.Pow(f.Vantage.Share, float64(requests)) > mayBeLoss
}

// unansweredRequests returns how many requests of a silent method stayed unanswered in a row.
func (f *Facts) unansweredRequests(m collectors.Method) int {
	switch {
	case f.silent(m).state != Holds:
		return 0
	case m == collectors.ICMP:
		return f.echoes().Unanswered
	}
	return f.replies(m).Sent
}
