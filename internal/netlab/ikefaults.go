package netlab

import (
	"slices"
	"strconv"

	"github.com/google/nftables/expr"
)

// Transaction is IKEv1's exchange for XAUTH and mode config (draft-dukes-ike-mode-cfg-02, section
// 3.1).
const Transaction = 6

// DropIKEExchange drops IKE messages of an exchange type on net3, on UDP 500 and 4500, after the
// first few have passed.
func (p *Provider) DropIKEExchange(t T, exchange byte, pass int, d Direction) Fault {
	t.Helper()
	const header, typeAt, marker = 8, 18, 4 // UDP; the type in IKE's header (RFC 2408, section 3.1); non-ESP (RFC 3948, section 2.2)
	var over []expr.Any
	if pass > 0 {
		// The rate of one per day is negligible: only the burst passes.
		over = []expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeDay, Burst: uint32(pass), Over: true}}
	}
	leaving := leavingBy(p.segments[middleSegment].near.Name)
	var matches [][]expr.Any
	for _, side := range []uint32{0, 2} { // the port from or to; a client behind a NAT has another one
		matches = append(matches,
			slices.Concat(leaving, udpPort(side, 500), transportIs(header+typeAt, exchange), over),
			slices.Concat(leaving, udpPort(side, 4500), transportIs(header, 0, 0, 0, 0), transportIs(header+marker+typeAt, exchange), over))
	}
	var at []*NS
	if d&Forward != 0 {
		at = append(at, p.R2)
	}
	if d&Reverse != 0 {
		at = append(at, p.R3)
	}
	return p.install(t, Fault("ike-exchange-"+strconv.Itoa(int(exchange))), atForward(matches...), at...)
}
