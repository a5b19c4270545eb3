package session

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/wire/stamp"
)

// The limits of a Reflector.
const (
	// MaxPacket is the largest payload of a datagram that is read or written, in bytes.
	MaxPacket = 9216
	// maxSkew is how far the clock of a partner may be off.
	maxSkew = 5 * time.Minute
	// maxSessions is how many sessions a partner may have: a running exporter, its successor, and
	// checks.
	maxSessions = 8
	// idle is after which time a session makes room for another one.
	idle = time.Minute
	// noticesPerSecond is how often a partner is told that its key is not the right one.
	noticesPerSecond = 1
)

// DefaultLimits are the limits of a Reflector for which none are configured.
func DefaultLimits() Limits { return Limits{Partner: 500, All: 5000} }

// Limits are the most packets per second that a Reflector answers one partner, and all partners
// together.
type Limits struct{ Partner, All int }

// A Partner is who is answered.
type Partner struct {
	// Name is that of the peer; Addr is where it sends from.
	Name string
	Addr netip.Addr
	// Keys authenticate it. Without keys it is answered in unauthenticated mode, if at all.
	Keys Keys
	// Unauthenticated has its requests in unauthenticated mode answered, without any state. There
	// are no Keys then.
	Unauthenticated bool
}

// A Datagram is one that arrived.
type Datagram struct {
	Payload []byte
	From    netip.AddrPort
	At      time.Time
	// TTL is the TTL or hop limit, TOS the octet with DSCP and ECN.
	TTL, TOS uint8
	// Room, if set, returns the largest payload of a reply that the link of this host carries. It
	// is asked where a request wants another size than its own.
	Room func() int
}

// A Reply is what answers a request.
type Reply struct {
	Payload []byte
	// DSCP is at most 63.
	DSCP uint8
	// Whole means that it must not be fragmented, Pieces that it shall be.
	Whole, Pieces bool
}

// Fate is what became of a request.
type Fate uint8

// The fates, in the order of Fates.
const (
	// Reflected: it was answered and, in authenticated mode, counted.
	Reflected Fate = iota
	// Refused: it was authentic and answered with the reason why it was not counted.
	Refused
	// Stranger: it came from an address that is no partner.
	Stranger
	// Forged: it could not be authenticated.
	Forged
	// Replayed: it was a copy of an earlier one, or older than the window.
	Replayed
	// Malformed: it was no request: too short, too long, or a reply.
	Malformed
	// Limited: the limit of the partner, or of all, was exceeded.
	Limited
	fates
)

// String is the label value.
func (f Fate) String() string {
	return enum.Name(f, "reflected", "refused", "stranger", "forged", "replayed", "malformed", "limited")
}

// Fates returns all fates.
func Fates() []Fate {
	return []Fate{Reflected, Refused, Stranger, Forged, Replayed, Malformed, Limited}
}

// A Traffic is what a Reflector has received and sent, in bytes of payload, by whether the request
// was authenticated.
type Traffic struct{ In, Out uint64 }

// A Count is a copy of the counters of a Reflector.
type Count struct {
	Fates           [fates]uint64
	Known, Unproven Traffic
}

// A Reflector answers partners. It is safe for concurrent use.
type Reflector struct {
	instance uint64
	secret   [32]byte

	mu       sync.Mutex
	limits   Limits
	partners map[netip.Addr]*partnerState
	all      limit
	count    Count
}

type partnerState struct {
	Partner
	// epoch makes the tokens of a partner that comes back differ from those before.
	epoch    uint64
	sessions map[uint16]*served
	packets  limit
	notices  limit
}

// A served session is the Reflector's part of a session.
type served struct {
	instance          uint64
	window            window
	received, replies uint32
	duplicates, late  uint32
	used              time.Time
}

// NewReflector returns a Reflector without partners.
func NewReflector(limits Limits) *Reflector {
	r := &Reflector{limits: limits, partners: make(map[netip.Addr]*partnerState)}
	_, _ = rand.Read(r.secret[:]) // it cannot fail (crypto/rand)
	r.instance = token(r.secret[:], 0)
	return r
}

// Set replaces the partners and the limits. The sessions of those that stay go on. Of several
// partners with one address the first counts, with the keys of all.
func (r *Reflector) Set(all []Partner, limits Limits) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.partners
	r.limits, r.partners = limits, make(map[netip.Addr]*partnerState, len(all))
	for _, p := range all {
		p.Addr = p.Addr.Unmap()
		if known := r.partners[p.Addr]; known != nil {
			known.Keys = append(slices.Clip(known.Keys), p.Keys...)
			known.Unauthenticated = known.Unauthenticated || p.Unauthenticated
			continue
		}
		state := before[p.Addr]
		if state == nil || state.Name != p.Name {
			var b [8]byte
			_, _ = rand.Read(b[:]) // it cannot fail (crypto/rand)
			state = &partnerState{epoch: binary.BigEndian.Uint64(b[:]), sessions: make(map[uint16]*served)}
		}
		state.Partner = p
		r.partners[p.Addr] = state
	}
}

// Forget ends all sessions, because this host has lost requests: what was lost here is no loss of
// the path. The partners begin again.
func (r *Reflector) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.partners {
		clear(p.sessions)
		p.epoch++
	}
}

// Count returns the counters.
func (r *Reflector) Count() Count {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// Handle takes a datagram and returns the answer, if there is one. clock is that of this host at
// the time now, at which the answer is sent.
func (r *Reflector) Handle(d *Datagram, clock Clock, now time.Time) (reply Reply, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply, fate, proven := r.handle(d, clock, now)
	traffic := &r.count.Unproven
	if proven {
		traffic = &r.count.Known
	}
	r.count.Fates[fate]++
	traffic.In += uint64(len(d.Payload))
	traffic.Out += uint64(len(reply.Payload))
	return reply, reply.Payload != nil
}

func (r *Reflector) handle(d *Datagram, clock Clock, now time.Time) (reply Reply, fate Fate, proven bool) {
	p := r.partners[d.From.Addr().Unmap()]
	switch {
	case p == nil:
		return Reply{}, Stranger, false
	case len(d.Payload) > MaxPacket:
		return Reply{}, Malformed, false
	case p.Unauthenticated && len(p.Keys) == 0:
		if !stamp.OnlyTest(d.Payload, stamp.Unauthenticated) { // two reflectors would answer each other without end
			return Reply{}, Malformed, false
		}
		reply, fate = r.plain(p, d, stamp.Unauthenticated, nil, clock, now)
		return reply, fate, false
	}
	if len(d.Payload) < stamp.SizeAuthenticated || !stamp.OnlyTest(d.Payload, stamp.Authenticated) {
		return Reply{}, Malformed, false
	}
	key, authentic := p.Keys.verify(d.Payload)
	if !authentic {
		return r.notice(p, d, clock, now), Forged, false
	}
	_, rest, _ := stamp.ParseTest(d.Payload, stamp.Authenticated)
	all, _ := stamp.ParseTLVs(rest)
	e, ours := extensionOf(all)
	switch {
	case !ours:
		reply, fate = r.plain(p, d, stamp.Authenticated, key.secret, clock, now)
		return reply, fate, true
	case e.kind != isRequest:
		return Reply{}, Malformed, true
	}
	reply, fate = r.serve(p, d, &exchange{all: all, ext: e, key: key, clock: clock, now: now})
	return reply, fate, true
}

// passes reports whether the limits allow one more answer.
func (r *Reflector) passes(p *partnerState, now time.Time) bool {
	return p.packets.take(now, r.limits.Partner) && r.all.take(now, r.limits.All)
}

// plain answers as a stateless Session-Reflector (RFC 8762, section 4.2), for implementations that
// do not have the extension. TLVs come back as they are, marked as unknown; the answer is as large
// as the request.
func (r *Reflector) plain(p *partnerState, d *Datagram, m stamp.Mode, key []byte, clock Clock, now time.Time) (Reply, Fate) {
	req, rest, err := stamp.ParseTest(d.Payload, m)
	switch {
	case err != nil:
		return Reply{}, Malformed
	case !r.passes(p, now):
		return Reply{}, Limited
	}
	out := answerTo(&req, d, req.Sequence, clock, now).Append(nil, m, key)
	all, left := stamp.ParseTLVs(rest)
	for _, t := range all {
		t.Flags = stamp.Unrecognized
		if t.Type == stamp.TypeExtraPadding {
			t.Flags = 0
		}
		switch {
		case t.Type == stamp.TypeHMAC && m == stamp.Authenticated:
			out = stamp.SealTLVs(out, m, 0, key)
			continue
		case t.Type == stamp.TypeHMAC:
			t.Flags |= stamp.IntegrityFailed // there is no key
		}
		out = t.Append(out)
	}
	return Reply{Payload: append(out, left...), DSCP: d.TOS >> 2}, Reflected
}

// answerTo is a reply without its TLVs.
func answerTo(req *stamp.Test, d *Datagram, sequence uint32, clock Clock, now time.Time) *stamp.Reply {
	return &stamp.Reply{
		Test:     stamp.Test{Sequence: sequence, Timestamp: stampOf(now), Error: clock.estimate(), SSID: req.SSID},
		Received: stampOf(cmp.Or(d.At, now)), Sender: *req, TTL: d.TTL,
	}
}

// notice tells a partner that its key is not ours. The reply is smaller than the request, or there
// is none.
func (r *Reflector) notice(p *partnerState, d *Datagram, clock Clock, now time.Time) Reply {
	req, _, err := stamp.ParseTest(d.Payload, stamp.Authenticated)
	if err != nil || len(p.Keys) == 0 || !p.notices.take(now, noticesPerSecond) {
		return Reply{}
	}
	out := answerTo(&req, d, 0, clock, now).Append(nil, stamp.Authenticated, p.Keys[0].secret)
	out = (&extension{version: version, kind: isReply, status: statusWrongKey}).tlv(0).Append(out)
	if len(out) > len(d.Payload) {
		return Reply{}
	}
	return Reply{Payload: out, DSCP: d.TOS >> 2}
}

// An exchange is an authentic request of an exporter.
type exchange struct {
	all   []stamp.TLV
	ext   extension
	key   Key
	clock Clock
	now   time.Time
}

// serve answers an exporter. Only a request that passes every check changes the session.
func (r *Reflector) serve(p *partnerState, d *Datagram, x *exchange) (Reply, Fate) {
	req, _, _ := stamp.ParseTest(d.Payload, stamp.Authenticated)
	expected := token(r.secret[:], p.epoch, uint64(req.SSID), x.ext.instance)
	s := p.sessions[req.SSID]
	skew := cmp.Or(d.At, x.now).Sub(timeOf(req.Timestamp, req.Error)).Abs()
	answer := extension{version: version, kind: isReply, instance: x.ext.instance, token: expected, reflector: r.instance}
	switch {
	case x.ext.version != version:
		answer.status, answer.token = statusVersion, 0
	case skew > maxSkew:
		answer.status, answer.token = statusSkewed, 0
	case x.ext.token != expected:
		answer.status = statusNew
	case s != nil && x.ext.instance < s.instance:
		answer.status, answer.token, answer.instance = statusStale, 0, s.instance
	case s == nil && req.Sequence >= windowSize: // of a session that made room for another one
		answer.status, answer.token = statusNew, 0
	case s == nil && !p.room(x.now):
		answer.status, answer.token = statusBusy, 0
	default:
		return r.record(p, s, &req, d, x, answer)
	}
	if !r.passes(p, x.now) {
		return Reply{}, Limited
	}
	// A copy of such a request is not known as one, so that its answer must not be larger.
	least := *d
	least.Room, x.ext.pieces = func() int { return len(d.Payload) }, false
	return x.reply(&req, &least, 0, &answer, stamp.DirectMeasurement{}), Refused
}

// record counts a request of a session and answers it.
func (r *Reflector) record(p *partnerState, s *served, req *stamp.Test, d *Datagram, x *exchange, answer extension) (Reply, Fate) {
	if s == nil || x.ext.instance > s.instance {
		s = &served{instance: x.ext.instance}
		p.sessions[req.SSID] = s
	}
	switch s.window.add(req.Sequence) {
	case again:
		s.duplicates++
		return Reply{}, Replayed
	case outside:
		return Reply{}, Replayed
	case behind:
		s.late++
	case ahead:
	}
	s.received, s.used = s.received+1, x.now
	if !r.passes(p, x.now) {
		return Reply{}, Limited // it is received all the same: no loss of the path
	}
	answer.duplicates, answer.late = s.duplicates, s.late
	sequence := s.replies
	s.replies++
	return x.reply(req, d, sequence, &answer, stamp.DirectMeasurement{Received: s.received, Replies: s.replies}), Reflected
}

// room reports whether the partner may have one more session, and ends an idle one if that is
// needed.
func (p *partnerState) room(now time.Time) bool {
	if len(p.sessions) < maxSessions {
		return true
	}
	for ssid, s := range p.sessions {
		if now.Sub(s.used) > idle {
			delete(p.sessions, ssid)
			return true
		}
	}
	return false
}

// reply makes the answer: the TLVs of the request in their order with what the Reflector knows, and
// then the size that was asked for.
func (x *exchange) reply(req *stamp.Test, d *Datagram, sequence uint32, e *extension, counters stamp.DirectMeasurement) Reply {
	out := Reply{DSCP: d.TOS >> 2}
	b := answerTo(req, d, sequence, x.clock, x.now).Append(nil, stamp.Authenticated, x.key.secret)
	size := len(d.Payload)
	for _, t := range x.all {
		t.Flags &^= stamp.Unrecognized | stamp.Malformed | stamp.IntegrityFailed | stamp.Nonconformant
		switch t.Type {
		case stamp.TypeExtraPadding, stamp.TypeHMAC:
			continue
		case stamp.TypeExperimental:
			t = e.tlv(0)
		case stamp.TypeClassOfService:
			t, out.DSCP = classOfService(t, d.TOS)
		case stamp.TypeDirectMeasurement:
			if m, err := stamp.ParseDirectMeasurement(t); err == nil {
				counters.Sent = m.Sent
				t = counters.TLV(0)
			}
		case stamp.TypeReflectedControl:
			t, size = reflectedControl(t, size, &x.ext, d.room())
			out.Whole, out.Pieces = !x.ext.pieces, x.ext.pieces
		default:
			t.Flags |= stamp.Unrecognized
		}
		if t.Check() != nil {
			t.Flags |= stamp.Malformed
		}
		b = t.Append(b)
	}
	b = stamp.SealTLVs(b, stamp.Authenticated, 0, x.key.secret)
	out.Payload = stamp.Pad(b, 0, size, 0)
	return out
}

// classOfService notes how the request arrived, and returns the DSCP of the reply.
func classOfService(t stamp.TLV, tos uint8) (stamp.TLV, uint8) {
	c, err := stamp.ParseClassOfService(t)
	if err != nil {
		return t, tos >> 2
	}
	c.Received, c.ECN = tos>>2, tos&3
	return c.TLV(0), c.Reply
}

// reflectedControl returns the size that the reply shall have. One reply is all that is sent, and
// no larger one than fits, or no smaller one where it shall be in pieces.
func reflectedControl(t stamp.TLV, size int, e *extension, room int) (stamp.TLV, int) {
	c, err := stamp.ParseReflectedControl(t)
	if err != nil {
		return t, size
	}
	wanted := (int(c.Length)+3)&^3 - int(e.trim)
	switch {
	case e.pieces && (wanted <= room || wanted > MaxPacket):
		t.Flags |= stamp.Nonconformant
		return t, size
	case e.pieces:
		room = MaxPacket
	case wanted > room, c.Number > 1:
		t.Flags |= stamp.Nonconformant
	}
	return t, min(wanted, room)
}

// room is the largest payload of a reply.
func (d *Datagram) room() int {
	if d.Room == nil {
		return MaxPacket
	}
	return min(d.Room(), MaxPacket)
}
