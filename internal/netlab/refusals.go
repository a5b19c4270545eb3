package netlab

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Faults of filters that inspect a payload, or that answer.
const (
	FaultESPInUDP    Fault = "esp-in-udp"
	FaultPeerRefuses Fault = "peer-refuses"
	FaultInput       Fault = "client-input"
)

// refuse is an ICMP error: communication administratively prohibited (RFC 1812, section 5.2.7.1;
// RFC 4443, section 3.1).
func refuse() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}

// RejectUDPPort refuses at r2 all UDP to a port.
func (p *Provider) RejectUDPPort(t T, port uint16) Fault {
	t.Helper()
	rules := atForward(udpPort(2, port))
	rules[0].act = refuse()
	return p.install(t, FaultUDPPort(port), rules, p.R2)
}

// DropESPInUDP drops at r2 what is sent to UDP 4500 without the non-ESP marker (RFC 3948, section
// 2.2).
func (p *Provider) DropESPInUDP(t T) Fault {
	t.Helper()
	const header = 8 // UDP
	return p.install(t, FaultESPInUDP, atForward(slices.Concat(udpPort(2, 4500), []expr.Any{
		transport(header, 4),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: binary.BigEndian.AppendUint32(nil, 0)},
	})), p.R2)
}

// RefuseAtServer has the packet filter of the server refuse everything but neighbor discovery.
func (p *Provider) RefuseAtServer(t T) Fault {
	t.Helper()
	rules := atHooks([]*nftables.ChainHook{nftables.ChainHookInput}, icmp4(), icmp6(), protocol(unix.IPPROTO_UDP))
	for i := range rules {
		rules[i].act = refuse()
	}
	return p.install(t, FaultPeerRefuses, rules, p.Server)
}

// DropInput has the packet filter of the client itself drop all ICMP but neighbor discovery.
func (p *Provider) DropInput(t T) Fault {
	t.Helper()
	return p.install(t, FaultInput, atHooks([]*nftables.ChainHook{nftables.ChainHookInput}, icmp4(), icmp6()), p.Client)
}

// RefuseOutput has the packet filter of the client itself refuse UDP to a port.
func (p *Provider) RefuseOutput(t T, port uint16) Fault {
	t.Helper()
	rules := atHooks([]*nftables.ChainHook{nftables.ChainHookOutput}, udpPort(2, port))
	rules[0].act = refuse()
	return p.install(t, Fault("client-output-"+strconv.Itoa(int(port))), rules, p.Client)
}
