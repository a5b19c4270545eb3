package netlab

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// Faults of single flows.
const (
	// FaultDeadLink drops what takes one of two equal-cost links.
	FaultDeadLink Fault = "dead-link"
	// FaultKnownFlows counts the packets of flows that are remembered, FaultStuckFlows those that are
	// dropped because they are.
	FaultKnownFlows Fault = "known-flows"
	FaultStuckFlows Fault = "stuck-flows"
)

// DropOddFlows drops at r2 all UDP to the server from odd source ports, as a provider does that
// spreads flows over two links, one of them dead.
func (p *Provider) DropOddFlows(t T) Fault {
	t.Helper()
	match := slices.Concat(leavingBy(p.segments[middleSegment].near.Name), oddUDPSource())
	return p.install(t, FaultDeadLink, atForward(match), p.R2)
}

// RememberFlows has r1 remember every flow from now on, as a NAT does.
func (p *Provider) RememberFlows(t T) Fault {
	t.Helper()
	rules := atForward(nil)
	rules[0].act = []expr.Any{
		&expr.Immediate{Register: reg, Data: binaryutil.NativeEndian.PutUint32(knownFlow)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: true},
	}
	return p.install(t, FaultKnownFlows, rules, p.R1)
}

// DropKnownFlows ends RememberFlows, and drops what belongs to a flow that is remembered: a NAT
// whose mappings lead to a dead uplink.
func (p *Provider) DropKnownFlows(t T) Fault {
	t.Helper()
	p.Heal(t, FaultKnownFlows)
	return p.install(t, FaultStuckFlows, atForward([]expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(knownFlow)},
	}), p.R1)
}

// knownFlow marks remembered flows in r1's connection tracking.
const knownFlow = 1

// DropOtherSourcePorts drops at r2 all UDP to the ports 500 and 4500 that does not come from the
// same port, as an access list with "eq isakmp" at both ends does.
func (p *Provider) DropOtherSourcePorts(t T) Fault {
	t.Helper()
	var matches [][]expr.Any
	for _, port := range []uint16{500, 4500} {
		matches = append(matches, slices.Concat(udpPort(2, port), []expr.Any{
			transport(0, 2),
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: binary.BigEndian.AppendUint16(nil, port)},
		}))
	}
	rules := atHooks([]*nftables.ChainHook{nftables.ChainHookForward}, matches...)
	leaving := leavingBy(p.segments[middleSegment].near.Name)
	for i := range rules {
		rules[i].match = slices.Concat(leaving, rules[i].match)
	}
	return p.install(t, Fault("source-ports"), rules, p.R2)
}
