package session

import (
	"time"

	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/wire/stamp"
)

// LeastPayload is the smallest request of an exporter with every TLV, in bytes of UDP payload.
const LeastPayload = stamp.SizeAuthenticated + (stamp.HeaderTLV + sizeExtension) + 8 + 16 + 16 + (stamp.HeaderTLV + stamp.SizeHMAC)

// remembered is how long a request waits for its reply, and mostPending how many do.
const (
	remembered  = 10 * time.Second
	mostPending = 4096
)

// A Sender is the sender's end: it makes requests and counts what replies show. It is not safe for
// concurrent use.
type Sender struct {
	keys Keys // none in unauthenticated mode
	ssid uint16

	instance, token uint64
	next            uint32
	pending         map[uint32]pending
	totals, run     Counts
	// replies has the numbers of the replies of this run; anchor is the newest of them.
	replies window
	anchor  anchor
	// stateful means that the reflector numbers its replies itself.
	stateful bool
}

type pending struct {
	at    time.Time
	stamp stamp.Timestamp
}

// An anchor is a moment at which the counters of both ends are known.
type anchor struct {
	known bool
	// sent, received, and replied are the counters of requests sent, received and answered.
	sent, received, replied uint32
	// lost is what was already missing when counting began, first the number of the first reply.
	lost  int64
	first uint32
}

// Counts are what a Sender has counted. They only grow.
type Counts struct {
	// Sent are the requests since the partner is known, Received the replies to them.
	Sent, Received uint64
	// The others are packets that did not arrive, arrived behind later ones, or arrived more than
	// once, on the way there and back.
	LostThere, LostBack, ReorderedThere, ReorderedBack, DuplicatesThere, DuplicatesBack uint64
}

func (c Counts) plus(o Counts) Counts {
	return Counts{
		c.Sent + o.Sent, c.Received + o.Received, c.LostThere + o.LostThere, c.LostBack + o.LostBack,
		c.ReorderedThere + o.ReorderedThere, c.ReorderedBack + o.ReorderedBack,
		c.DuplicatesThere + o.DuplicatesThere, c.DuplicatesBack + o.DuplicatesBack,
	}
}

// NewSender returns a Sender with a partner that has one of these keys, or with a foreign reflector
// in unauthenticated mode if there are none. ssid tells sessions of this host apart. Each Sender
// has an instance of its own, which grows with the time now.
func NewSender(keys Keys, ssid uint16, now time.Time) *Sender {
	return &Sender{keys: keys, ssid: ssid, instance: uint64(now.UnixNano()), pending: make(map[uint32]pending)}
}

// Mode is the mode of the packets.
func (s *Sender) Mode() stamp.Mode {
	if len(s.keys) == 0 {
		return stamp.Unauthenticated
	}
	return stamp.Authenticated
}

// SetKeys changes the keys. Counting goes on.
func (s *Sender) SetKeys(keys Keys) { s.keys = keys }

// Established reports whether requests are counted: the partner's token is known, or none is
// needed.
func (s *Sender) Established() bool { return s.Mode() == stamp.Unauthenticated || s.token != 0 }

// OneWay reports whether the reflector counts, so that loss has a direction.
func (s *Sender) OneWay() bool {
	return s.anchor.known && (s.Mode() == stamp.Authenticated || s.stateful)
}

// Counts returns what was counted so far.
func (s *Sender) Counts() Counts { return s.totals.plus(s.run) }

// A Request says what to send.
type Request struct {
	// DSCP is what the reply shall have, at most 63.
	DSCP uint8
	// Size is the size of the UDP payload in bytes, 0 for the least; ReplySize that of the reply, 0
	// for the same. Requests to foreign reflectors have one size.
	Size, ReplySize int
	// Pieces lets the partner send the reply in IP fragments; it has to be larger than its link.
	Pieces bool
}

// Next makes a request, which is sent at the time now, and returns it with its number.
func (s *Sender) Next(want Request, clock Clock, now time.Time) (payload []byte, number uint32) {
	s.expire(now)
	if s.next == 1<<31 { // after centuries
		s.Abandon()
	}
	number = s.next
	s.next++
	t := stamp.Test{Sequence: number, Timestamp: stampOf(now), Error: clock.estimate(), SSID: s.ssid}
	s.pending[number] = pending{now, t.Timestamp}
	if s.Established() {
		s.run.Sent++
	}
	if s.Mode() == stamp.Unauthenticated {
		return t.Append(nil, stamp.Unauthenticated, nil), number
	}
	const flags = stamp.Unrecognized // RFC 8972, section 4: set by a Session-Sender
	key := s.keys[0].secret
	b := t.Append(nil, stamp.Authenticated, key)
	aligned := (want.ReplySize + 3) &^ 3
	e := extension{version: version, kind: isRequest, trim: uint8(aligned - want.ReplySize), pieces: want.Pieces, instance: s.instance, token: s.token}
	b = e.tlv(flags).Append(b)
	b = stamp.ClassOfService{Reply: want.DSCP}.TLV(flags).Append(b)
	b = stamp.DirectMeasurement{Sent: number + 1}.TLV(flags).Append(b)
	if want.ReplySize > 0 {
		b = stamp.ReflectedControl{Length: uint16(aligned), Number: 1}.TLV(flags).Append(b)
	}
	b = stamp.SealTLVs(b, stamp.Authenticated, flags, key)
	return stamp.Pad(b, 0, want.Size, flags), number
}

// expire forgets requests that wait no longer.
func (s *Sender) expire(now time.Time) {
	for n, p := range s.pending {
		if now.Sub(p.at) > remembered || len(s.pending) >= mostPending {
			delete(s.pending, n)
		}
	}
}

// restart begins a new run; what was counted stays.
func (s *Sender) restart() {
	s.totals, s.run = s.totals.plus(s.run), Counts{}
	s.next, s.replies, s.anchor, s.stateful = 0, window{}, anchor{}, false
	clear(s.pending)
}

// Abandon begins a new run, which has to be established again. What was sent since the newest reply
// is neither lost nor received: a partner that is silent, or refuses, says nothing about the path.
func (s *Sender) Abandon() {
	s.restart()
	s.instance, s.token = s.instance+1, 0
}

// Meaning is what a packet of the partner means.
type Meaning uint8

// The meanings.
const (
	// Foreign: it belongs to no request of this Sender.
	Foreign Meaning = iota
	// Answered: it answers a request, and was counted.
	Answered
	// Established: the partner has given its token; counting begins.
	Established
	// Restarted: the partner no longer knows this run; counting begins again.
	Restarted
	// WrongKey: the partner answers with a key that is none of ours.
	WrongKey
	// Skewed: the partner's clock differs by more than five minutes.
	Skewed
	// OtherVersion: the partner speaks another version, or STAMP without this package's extension.
	OtherVersion
	// Superseded: another exporter with this session's number is in its place.
	Superseded
	// Busy: the partner has too many sessions.
	Busy
)

// String names the meaning.
func (m Meaning) String() string {
	return enum.Name(m, "foreign", "answered", "established", "restarted", "wrong_key", "skewed", "other_version", "superseded", "busy")
}

// A Receipt is what one packet of the partner shows. All but Meaning is set if it was Answered and
// its request is remembered; then Number is that of the request.
type Receipt struct {
	Meaning Meaning
	Matched bool
	Number  uint32
	// There and Back are the times on the way with the difference of the clocks in them, RoundTrip
	// is their sum: without the time that the partner took.
	There, Back, RoundTrip time.Duration
	// Synchronized means that both clocks say so; Error is the sum of their errors.
	Synchronized bool
	Error        time.Duration
	// DSCP and ECN are what the request had when it arrived, if Marked; TTL is what was left of its
	// TTL.
	Marked    bool
	DSCP, ECN uint8
	TTL       uint8
	// Size is the size of the reply in bytes of UDP payload. Short means that the partner could not
	// make it as large as was asked for.
	Size  int
	Short bool
}

// Receive takes a packet of the partner that arrived at a time.
func (s *Sender) Receive(b []byte, at time.Time) Receipt {
	m := s.Mode()
	r, rest, err := stamp.ParseReply(b, m)
	if err != nil || r.SSID != s.ssid && m == stamp.Authenticated {
		return Receipt{}
	}
	was, matched := s.pending[r.Sender.Sequence]
	matched = matched && was.stamp == r.Sender.Timestamp
	if m == stamp.Unauthenticated {
		if !matched {
			return Receipt{}
		}
		return s.count(&r, nil, nil, was, true, at).sized(b)
	}
	if _, authentic := s.keys.verify(b); !authentic {
		if matched {
			return Receipt{Meaning: WrongKey}
		}
		return Receipt{}
	}
	all, _ := stamp.ParseTLVs(rest)
	e, ours := extensionOf(all)
	switch {
	case ours && e.kind != isReply:
		return Receipt{}
	case !ours || e.version != version || e.status == statusVersion:
		if matched {
			return Receipt{Meaning: OtherVersion}
		}
		return Receipt{}
	case e.status == statusStale && matched && e.instance >= s.instance:
		s.restart()
		s.instance, s.token = e.instance+1, 0
		return Receipt{Meaning: Superseded}
	case e.instance != s.instance:
		return Receipt{}
	}
	return s.take(&r, all, &e, was, matched, at).sized(b)
}

// sized adds the size of the packet to what it shows.
func (out Receipt) sized(b []byte) Receipt {
	if out.Meaning == Answered {
		out.Size = len(b)
	}
	return out
}

// take follows an authentic reply to this instance.
func (s *Sender) take(r *stamp.Reply, all []stamp.TLV, e *extension, was pending, matched bool, at time.Time) Receipt {
	switch e.status {
	case statusOK:
		if e.token != s.token {
			return Receipt{} // to a request before a restart
		}
		return s.count(r, all, e, was, matched, at)
	case statusNew, statusSkewed, statusBusy:
		if matched { // or it may be an old one that was recorded
			return s.meet(e)
		}
	case statusVersion, statusStale, statusWrongKey:
	}
	return Receipt{}
}

// meet follows an answer to a request that the partner does not count.
func (s *Sender) meet(e *extension) Receipt {
	switch {
	case e.status == statusSkewed:
		return Receipt{Meaning: Skewed}
	case e.status == statusBusy:
		return Receipt{Meaning: Busy}
	case s.token != 0: // it no longer knows this run, so that another one has to begin
		s.Abandon()
		return Receipt{Meaning: Restarted}
	}
	s.restart()
	s.token = e.token
	return Receipt{Meaning: Established}
}

// count counts a reply. all and e are nil in unauthenticated mode.
func (s *Sender) count(r *stamp.Reply, all []stamp.TLV, e *extension, was pending, matched bool, at time.Time) Receipt {
	s.stateful = s.stateful || r.Sequence != r.Sender.Sequence
	switch s.replies.add(r.Sequence) {
	case again:
		s.run.DuplicatesBack++
		return Receipt{}
	case outside:
		return Receipt{}
	case behind:
		s.run.ReorderedBack++
		s.run.Received++
	case ahead:
		s.run.Received++
		s.follow(r, all, e)
	}
	out := Receipt{Meaning: Answered, Number: r.Sender.Sequence, TTL: r.TTL}
	if c, ok := stamp.Find(all, stamp.TypeClassOfService); ok && c.Flags&stamp.Unrecognized == 0 {
		if v, err := stamp.ParseClassOfService(c); err == nil {
			out.Marked, out.DSCP, out.ECN = true, v.Received, v.ECN
		}
	}
	if c, ok := stamp.Find(all, stamp.TypeReflectedControl); ok {
		out.Short = c.Flags&(stamp.Nonconformant|stamp.Unrecognized) != 0
	}
	if matched {
		delete(s.pending, r.Sender.Sequence)
		out.times(r, was, at)
	}
	return out
}

func (out *Receipt) times(r *stamp.Reply, was pending, at time.Time) {
	out.Matched = true
	out.There = timeOf(r.Received, r.Error).Sub(was.at)
	out.Back = at.Sub(timeOf(r.Timestamp, r.Error))
	out.RoundTrip = out.There + out.Back
	theirs, ok := r.Error.Nanoseconds()
	ours, _ := r.Sender.Error.Nanoseconds()
	out.Synchronized = ok && r.Error.Synchronized && r.Sender.Error.Synchronized
	out.Error = time.Duration(min(theirs, 1<<61) + min(ours, 1<<61))
}

// follow moves the anchor to the newest reply.
func (s *Sender) follow(r *stamp.Reply, all []stamp.TLV, e *extension) {
	a := anchor{known: true, sent: r.Sender.Sequence + 1, received: r.Sequence + 1, replied: r.Sequence + 1, lost: s.anchor.lost}
	if e != nil {
		t, _ := stamp.Find(all, stamp.TypeDirectMeasurement)
		m, err := stamp.ParseDirectMeasurement(t)
		if err != nil || m.Sent != a.sent {
			return // a reply without its counters moves nothing
		}
		a.received, a.replied = m.Received, m.Replies
		s.run.DuplicatesThere = max(s.run.DuplicatesThere, uint64(e.duplicates))
		s.run.ReorderedThere = max(s.run.ReorderedThere, uint64(e.late))
	} else if !s.anchor.known { // a foreign reflector may have counted before
		a.lost, a.first = int64(a.sent)-int64(a.received), r.Sequence
	}
	a.first, a.sent = s.anchor.first+a.first, max(a.sent, s.anchor.sent) // a later request may have been answered first
	s.anchor = a
}

// Settle computes the losses, once the replies to what was sent have had their time. A packet that
// comes later still is taken for lost; what was counted is never taken back, so the next loss makes
// up for it.
func (s *Sender) Settle() {
	if !s.OneWay() {
		return
	}
	there := int64(s.anchor.sent) - int64(s.anchor.received) - s.anchor.lost
	back := int64(s.anchor.replied) - int64(s.anchor.first) - int64(s.run.Received)
	s.run.LostThere = max(s.run.LostThere, uint64(max(there, 0)))
	s.run.LostBack = max(s.run.LostBack, uint64(max(back, 0)))
}
