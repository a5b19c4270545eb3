package pmtu

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/matched"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

// Some middleboxes clear DF and cut what is too large for a link. Then packets larger than the path
// MTU arrive, and no search notices. A router behind that link shows it in the packet that its "time
// exceeded" quotes: a fragment. Fragments carry a multiple of 8 bytes, so the link's MTU is the size
// of the quoted fragment or up to 7 bytes more, which one probe of each size shows.

// cut is the lowest TTL at which a packet came in pieces, the router there, and the method that
// showed it; the zero value means that none did.
type cut struct {
	ttl  int
	from netip.Addr
	by   collectors.Method
}

// cutTries is how often a size is tried, because routers limit their rate.
const cutTries = 4

// lookAtPieces finds out, for each method, what crosses in one piece.
func (c *Collector) lookAtPieces(ctx context.Context, out *Results) error {
	for i := range out.Results {
		r := &out.Results[i]
		st := c.states[r.Method]
		if st.whole = 0; c.cut.ttl == 0 || !st.known.Conclusive() || !c.together(r.Method, c.cut.by) {
			continue
		}
		p := c.prober(r.Method, st, time.Now())
		first, err := p.pieces(ctx, c.cut.ttl, st.roundTrip, st.bytes)
		if err != nil {
			return err
		}
		fragment := first[st.bytes]
		if fragment == 0 {
			continue
		}
		sizes := make([]int, 0, unit)
		for size := fragment + 1; size < min(fragment+unit, st.bytes); size++ {
			sizes = append(sizes, size)
		}
		rest, err := p.pieces(ctx, c.cut.ttl, st.roundTrip, sizes...)
		if err != nil {
			return err
		}
		st.whole = fragment
		for size, fragment := range rest {
			if fragment == 0 {
				st.whole = max(st.whole, size)
			}
		}
	}
	return nil
}

// pieces sends probes to the router at a TTL and returns, for each size that it quotes, the size of
// the first fragment, 0 for a probe in one piece.
func (p *prober) pieces(ctx context.Context, ttl int, rtt time.Duration, sizes ...int) (map[int]int, error) {
	quoted := make(map[int]int)
	for try := 0; try < cutTries && len(quoted) < len(sizes); try++ {
		if try > 0 {
			if err := volley.Pause(ctx, matched.PolitePause); err != nil {
				return nil, fmt.Errorf("pieces by %s: %w", p.method, err)
			}
		}
		var shots []*volley.Shot
		for _, size := range sizes {
			if _, ok := quoted[size]; ok {
				continue
			}
			shot, err := p.shot(size, "is it cut on the path?")
			if err != nil {
				return nil, fmt.Errorf("pieces by %s: %w", p.method, err)
			}
			shot.Packet.TTL = uint8(ttl)
			shots = append(shots, shot)
		}
		if err := volley.Fire(ctx, p.network, shots, controlSpacing, matched.Patience(rtt, matched.LeastPatience)); err != nil {
			return nil, fmt.Errorf("pieces by %s: %w", p.method, err)
		}
		for _, s := range shots {
			if a := s.Answer(); a.Outcome == netio.TimeExceeded {
				quoted[s.Packet.WireSize()] = a.Cut
			}
		}
	}
	return quoted, nil
}

// inOnePiece applies to a result what crosses in one piece.
func (c *Collector) inOnePiece(r *Result) {
	st := c.states[r.Method]
	if st == nil || st.whole == 0 || r.Bytes <= st.whole || !r.State.Conclusive() {
		return
	}
	r.Note = fmt.Sprintf("larger packets, up to %d bytes, arrive in pieces: DF is cleared on the path, before %s", r.Bytes, c.cut.from)
	r.State, r.Bytes = search.Reduced, st.whole
}
