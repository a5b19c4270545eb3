package rows

import (
	"context"
	"fmt"
	"time"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// The path MTU of small paths, and how many peers have one.
const (
	holeBytes = 1400
	holePeers = 1000
)

// pathMTU measures the first search of 10,000 clean peers at 1,000 packets per second, and that of
// 1,000 peers behind black holes at 2,000.
func pathMTU(ctx context.Context, l *lab) ([]Check, error) {
	clean, err := l.firstPass(ctx, l.clean(0), 1000)
	if err != nil {
		return nil, err
	}
	peers := l.clean(l.count(holePeers))
	peers.Mix, peers.Narrow = []crowd.Share{{Kind: crowd.Hole, Weight: 1}}, []int{holeBytes}
	holes, err := l.firstPass(ctx, peers, 2000)
	if err != nil {
		return nil, err
	}
	whole := atMost("clean peers: time until each has a path MTU", clean.any.Seconds(), 10, "s")
	whole.Note = clean.note()
	found := atMost("black holes: time until each has its path MTU", holes.any.Seconds(), 30, "s")
	found.Note = holes.note()
	return []Check{
		whole, atMost("clean peers: wrong results", clean.wrong, 0, ""), found,
		atMost("black holes: wrong results", holes.wrong, 0, ""),
		atMost("black holes: CPU per peer", holes.cpu, 5, "ms"),
	}, nil
}

// A pass is the first search of all peers.
type pass struct {
	// any is the time until each peer has a result by some method, every that by all methods.
	any, every time.Duration
	// cpu is in milliseconds per peer until any, rate in packets per second.
	cpu, rate float64
	wrong     float64
}

func (p *pass) note() string {
	if p.every == 0 {
		return fmt.Sprintf("not by every method in time; %.0f packets/s", p.rate)
	}
	return fmt.Sprintf("by every method after %.1f s; %.0f packets/s", p.every.Seconds(), p.rate)
}

// firstPass searches the path MTU of all peers at a packet rate.
func (l *lab) firstPass(ctx context.Context, peers crowd.Config, packets int) (pass, error) {
	s, err := l.simulate(ctx, peers)
	if err != nil {
		return pass{}, err
	}
	defer s.Stop()
	e, err := l.export(ctx, exporterConfig{peers: peers, collectors: []string{"pmtu"}, packets: packets})
	if err != nil {
		return pass{}, err
	}
	defer e.Stop()
	out, began := pass{}, time.Now()
	limit := l.duration(3 * time.Minute)
	for out.every == 0 && time.Since(began) < limit {
		if err := pause(ctx, 500*time.Millisecond); err != nil { // each look costs the exporter a scrape
			return out, err
		}
		p, err := e.page(ctx)
		if err != nil {
			return out, err
		}
		found := l.results(s, p)
		out.wrong = float64(found.wrong)
		if found.peers == peers.Count && out.any == 0 {
			out.any, out.cpu = time.Since(began), float64(e.CPU().Milliseconds())/float64(peers.Count)
			l.logf("%d peers have a result after %v", found.peers, out.any.Round(time.Millisecond))
		}
		if found.results == 3*peers.Count {
			out.every = time.Since(began)
		}
	}
	if out.any == 0 { // a time that fails, and is not shown as less than it was
		out.any = limit
		out.cpu = float64(e.CPU().Milliseconds()) / float64(peers.Count)
	}
	now, err := s.counters(ctx)
	out.rate = now["packets_received"] / time.Since(began).Seconds()
	return out, err
}

// found counts the results of searches on a page.
type found struct{ peers, results, wrong int }

// results compares the path MTUs on a page with the truth.
func (l *lab) results(s *simulator, p page) found {
	truth := make(map[string]crowd.Expectation, s.config.Count)
	i := 0
	for profile := range s.config.Profiles {
		truth[peerName(i)] = profile.Expect()
		i++
	}
	out, seen := found{}, make(map[string]bool)
	states := make(map[string]string)
	for m := range p.samples("ipsec_path_mtu_state") {
		states[m.label("peer")+m.label("method")] = m.label("state")
	}
	for m := range p.samples("ipsec_path_mtu_bytes") {
		peer, method := m.label("peer"), m.label("method")
		want := truth[peer]
		if m.value != float64(want.Bytes[method]) || states[peer+method] != want.States[method] {
			out.wrong++
			continue
		}
		out.results++
		if !seen[peer] {
			seen[peer] = true
			out.peers++
		}
	}
	return out
}
