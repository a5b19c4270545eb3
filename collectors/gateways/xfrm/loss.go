//go:build linux

package xfrm

import (
	"encoding/binary"
	"net/netip"
	"time"

	"ipsec_path_exporter/collectors/gateways"
)

// settleTime is how long a gap of a replay window may still be filled. A packet that is accepted even
// later was counted as lost, and the next loss is not counted instead.
const settleTime = 10 * time.Second

// A replay is what an SA has received, by its replay window (RFC 4303, section 3.4.3). It is zero
// where the kernel does not keep one.
type replay struct {
	seq    uint64 // the highest number that was received
	window uint32 // in packets, at least 1
	ring   bool   // bits is a ring by number; else the bit 1<<n is the number seq-n
	bits   string // the 32-bit words of the kernel's bitmap, as bytes of this host
}

// parseReplay reads struct xfrm_replay_state: the number of the last packet sent, the highest
// received, and a bitmap of 32.
func parseReplay(b []byte, window uint8) replay {
	if len(b) < 12 || window == 0 {
		return replay{}
	}
	return replay{seq: uint64(binary.NativeEndian.Uint32(b[4:])), window: min(uint32(window), 32), bits: string(b[8:12])}
}

// parseReplayESN reads struct xfrm_replay_state_esn: the length of the bitmap, sent, received, the
// upper halves of both, the window, the bitmap. Without extended sequence numbers the upper halves
// are 0; the kernel uses this form also for windows above 32.
func parseReplayESN(b []byte) replay {
	const head = 24
	if len(b) < head {
		return replay{}
	}
	order := binary.NativeEndian
	words, window := order.Uint32(b), order.Uint32(b[20:])
	if window == 0 || uint64(words)*4 > uint64(len(b)-head) || uint64(window) > uint64(words)*32 {
		return replay{}
	}
	return replay{
		seq:    uint64(order.Uint32(b[16:]))<<32 | uint64(order.Uint32(b[8:])),
		window: window, ring: true, bits: string(b[head : head+4*words]),
	}
}

// missing returns how many of the newest n numbers were not received. n is at most the window; there
// are no numbers below 1.
func (r *replay) missing(n uint64) (count uint64) {
	n = min(n, uint64(r.window), r.seq)
	newest := (uint32(r.seq) - 1) % r.window // as in the kernel, also where the lower half is 0
	for back := range uint32(n) {
		bit := back
		if r.ring {
			bit = (newest + r.window - back) % r.window
		}
		word := binary.NativeEndian.Uint32([]byte(r.bits[bit/32*4:][:4]))
		if word>>(bit%32)&1 == 0 {
			count++
		}
	}
	return count
}

// losses count what did not arrive, by SA, from reading to reading.
//
// The sender numbers its packets from 1 without gaps (RFC 4303, section 2.2), and the kernel counts a
// packet when it enters its number into the window. So the numbers up to the highest that are not
// counted were lost, or are still under way: these are the gaps of the window that are younger than
// settleTime. All that is behind the window is lost, because the kernel refuses it.
type losses struct {
	of    map[saKey]*arrivals
	round uint64
}

// A saKey is what the kernel distinguishes inbound SAs by.
type saKey struct {
	dst   netip.Addr
	spi   uint32
	proto uint8
}

// arrivals is what is known of an SA.
type arrivals struct {
	src          netip.Addr
	added        time.Time
	packets, seq uint64 // at the last reading
	lost         uint64
	// base is what was lost before the counters of the SA were last set, and offset what they lack
	// since then.
	base   uint64
	offset int64
	// All numbers up to settled have had settleTime to arrive, those up to pending since then.
	settled, pending uint64
	since            time.Time
	round            uint64 // the last one that showed the SA
}

// add sets the losses of all SAs, and forgets the SAs that have gone.
func (l *losses) add(states []state, now time.Time) {
	if l.of == nil {
		l.of = map[saKey]*arrivals{}
	}
	l.round++
	for i := range states {
		if s := &states[i]; s.keyed && s.dir != out && s.replay.window > 0 {
			l.one(s, now)
		}
	}
	for key, a := range l.of {
		if a.round != l.round {
			delete(l.of, key)
		}
	}
}

func (l *losses) one(s *state, now time.Time) {
	key := saKey{s.dst, s.spi, s.proto}
	a := l.of[key]
	switch {
	case a == nil:
		a = &arrivals{since: now, pending: s.replay.seq}
		if !s.plausible() {
			a.restart(s)
		}
		l.of[key] = a
	case a.round == l.round: // Marks distinguish SAs too. Which of them is which is unknown.
		return
	case a.src != s.src || !a.added.Equal(s.added) || s.packets < a.packets || s.replay.seq < a.seq:
		a.restart(s)
		a.settled, a.pending, a.since = 0, s.replay.seq, now
	}
	if now.Sub(a.since) >= settleTime {
		a.settled, a.pending, a.since = a.pending, s.replay.seq, now
	}
	a.src, a.added, a.packets, a.seq, a.round = s.src, s.added, s.packets, s.replay.seq, l.round
	recent := s.replay.missing(s.replay.seq - min(a.settled, s.replay.seq))
	if grown := s.absent() - int64(recent) - a.offset; grown > 0 {
		a.lost = max(a.lost, a.base+uint64(grown))
	}
	s.lost = gateways.Counted(a.lost)
}

// restart takes the counters of an SA as they are, because they were set and not counted: a daemon
// that moves an SA to another address makes it again.
func (a *arrivals) restart(s *state) { a.base, a.offset = a.lost, s.absent() }

// absent is the number of packets that are numbered and not counted. It is negative only where the
// counters were set.
func (s *state) absent() int64 { return int64(s.replay.seq) - int64(s.packets) }

// plausible reports whether the counters of an SA can be what they were counted to: each packet in
// the window was counted, and each counted packet has a number.
func (s *state) plausible() bool {
	inWindow := min(uint64(s.replay.window), s.replay.seq)
	return s.packets >= inWindow-s.replay.missing(inWindow) && s.packets <= s.replay.seq
}
