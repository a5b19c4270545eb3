package fragments

import (
	"context"
	"errors"
	"fmt"

	"ipsec_path_exporter/internal/netio"
)

// Some firewalls reassemble two fragments but drop longer chains, or need the first fragment first.
// So where two fragments pass, two more messages are sent:
//
//	long:        3000 bytes in three fragments or more
//	             not answered: the peer may refuse that size (RFC 7296, section 2, demands 1280
//	             octets), or the chain is dropped; then 1200 bytes in three fragments are compared
//	             with 1200 bytes in two
//	last first:  1200 bytes in two fragments, the last one sent first; not answered: compared with
//	             the same fragments in order
const (
	// longTries is how often a message is sent before it is compared.
	longTries = 3
	// usualLink bounds the fragments of a long message, so that it has three of them also on links
	// that carry more.
	usualLink = 1500
	// leastChain is the number of fragments of a chain.
	leastChain = 3
)

// chains tests longer chains and fragments in reverse order.
func (c *Collector) chains(ctx context.Context, b *batch, s sizes, r *Result) error {
	last := c.Snapshot()
	before := last.Of(b.probes.Method)
	two := message{kind: "two", size: s.size, piece: s.piece}
	reversed := two
	reversed.kind, reversed.lastFirst = "reversed", true
	passes, err := b.passes(ctx, reversed)
	if r.LastFirst = Pass; err == nil && !passes {
		r.LastFirst, err = b.compare(ctx, reversed, two, before.LastFirst, nil)
	}
	if errors.Is(err, netio.ErrApart) {
		r.LastFirst, err = Unknown, nil
	}
	if err != nil {
		return err
	}
	long := message{kind: "long", size: largest, piece: min(s.largePiece, usualLink)}
	r.LongSize, r.LongPieces = long.size, b.count(long)
	passes, err = b.passes(ctx, long)
	if r.Long = Pass; err != nil || passes {
		return err
	}
	three := message{kind: "three", size: s.size, piece: b.third(s.size)}
	state, err := b.compare(ctx, three, two, before.Long, nil)
	if errors.Is(err, netio.ErrApart) {
		r.Long, r.LongReason = Unknown, err.Error()
		return nil
	}
	if r.Long = state; state == Pass {
		r.Long = Unknown
		r.LongReason = fmt.Sprintf("the peer may refuse messages of %d bytes, or longer chains of fragments are dropped", long.size)
	}
	return err
}

// passes reports whether a message is answered, of a few.
func (b *batch) passes(ctx context.Context, m message) (bool, error) {
	for range longTries {
		answered, err := b.send(ctx, m)
		if err != nil || answered[0] {
			return err == nil, err
		}
	}
	return false, nil
}

// count returns the number of fragments of a message.
func (b *batch) count(m message) int {
	header := b.probes.Target.Path.HeaderIP()
	overhead := header
	if b.probes.Target.Path.IPv6() {
		overhead += unit // the fragment header
	}
	part := (m.piece - overhead) &^ (unit - 1)
	return (m.size - header + part - 1) / part
}

// third returns the size of the fragments that make three of a message.
func (b *batch) third(size int) int {
	m := message{size: size, piece: size / leastChain}
	for b.count(m) > leastChain {
		m.piece += unit
	}
	return m.piece
}

// unit is what the data of a fragment is a multiple of (RFC 791, section 3.1).
const unit = 8
