package netlab

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Faults of one direction.
const (
	// FaultLossOneWay drops packets of one direction.
	FaultLossOneWay Fault = "loss-one-way"
	// FaultDSCP rewrites the DSCP of one direction.
	FaultDSCP Fault = "dscp"
)

// towardsEnd returns the routers that packets of a direction leave by net3.
func (p *Provider) towardsEnd(d Direction) (at []*NS) {
	if d&Forward != 0 {
		at = append(at, p.R2)
	}
	if d&Reverse != 0 {
		at = append(at, p.R3)
	}
	return at
}

// LoseOneWay drops a share of the packets of a direction on net3, in percent.
func (p *Provider) LoseOneWay(t T, share int, d Direction) Fault {
	t.Helper()
	match := slices.Concat(leavingBy(p.segments[middleSegment].near.Name), percent(share))
	return p.install(t, FaultLossOneWay, atForward(match), p.towardsEnd(d)...)
}

// RewriteDSCP sets the DSCP of the packets of a direction on net3, and their ECN field to 0.
func (p *Provider) RewriteDSCP(t T, dscp uint8, d Direction) Fault {
	t.Helper()
	tos := dscp << 2
	rewrite := func(version byte, first ...byte) rule {
		write := &expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 0, Len: uint32(len(first)),
		}
		if version == unix.NFPROTO_IPV4 {
			write.CsumType, write.CsumOffset = expr.CsumTypeInet, 10 // RFC 791, section 3.1
		}
		return rule{
			hook:  nftables.ChainHookForward,
			match: slices.Concat(leavingBy(p.segments[middleSegment].near.Name), meta(expr.MetaKeyNFPROTO, []byte{version})),
			act:   []expr.Any{&expr.Immediate{Register: reg, Data: first}, write},
		}
	}
	return p.install(t, FaultDSCP, []rule{
		rewrite(unix.NFPROTO_IPV4, 0x45, tos),              // without options
		rewrite(unix.NFPROTO_IPV6, 0x60|tos>>4, tos&15<<4), // the rest of the byte is of the flow label
	}, p.towardsEnd(d)...)
}
